//! Audit lines that wait for the log.

use async_trait::async_trait;
use leasehold_identity::SpiffeId;
use leasehold_sdk::{LeaseId, Timestamp};

use super::StoreError;
use crate::domain::lease::{EndedBy, State};

/// Audit lines of endings, written by the same transaction as the change (law 2: ending never waits for audit).
#[async_trait]
pub trait Outbox: Send + Sync {
    /// The oldest lines that are this broker's to put on record.
    async fn outbox(&self, limit: usize) -> Result<Vec<OutboxLine>, StoreError>;

    /// Adds a line: of what orders an end, before it is carried out, or of what the log did not take when it should have.
    async fn outbox_add(&self, at: Timestamp, entry: &OutboxEntry) -> Result<(), StoreError>;

    /// Drops the lines of these numbers: they are in the log.
    async fn outbox_done(&self, numbers: &[i64]) -> Result<(), StoreError>;
}

/// What the audit log must still take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxLine {
    /// Its place; lines are numbered without reuse.
    pub number: i64,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub entry: OutboxEntry,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum OutboxEntry {
    /// A lease changed its state.
    Lease(LeaseChange),
    /// An event of the audit log's own vocabulary, as its JSON.
    Event(serde_json::Map<String, serde_json::Value>),
}

impl Eq for OutboxEntry {}

impl OutboxEntry {
    /// The change of a lease, if it is one.
    pub fn change(&self) -> Option<&LeaseChange> {
        match self {
            Self::Lease(change) => Some(change),
            Self::Event(_) => None,
        }
    }
}

/// One change of a lease's state, for the audit log.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LeaseChange {
    /// The lease.
    pub lease: LeaseId,
    /// Its role.
    pub role: String,
    /// Its target.
    pub target: String,
    /// Whose it is.
    pub identity: SpiffeId,
    /// The account's name.
    pub account: String,
    /// Its new state.
    pub state: State,
    /// Why it ends.
    pub ended_by: Option<EndedBy>,
    /// How often ending it failed before.
    #[serde(default)]
    pub attempts: u32,
    /// The last error, or a note such as that its target was forgotten.
    #[serde(default)]
    pub note: Option<String>,
}
