//! Single facts about the store and the cluster.

use std::collections::BTreeMap;

use async_trait::async_trait;
use leasehold_sdk::{LeaseId, StoreTag, Timestamp};

use super::StoreError;

/// Single facts about the store and the cluster.
#[async_trait]
pub trait Facts: Send + Sync {
    /// The tag made with the store.
    fn tag(&self) -> &StoreTag;

    /// What another program may have changed about it since it was opened.
    async fn standing(&self) -> Result<Standing, StoreError>;

    /// The store's own clock. A SQLite store's is its host's.
    async fn clock(&self) -> Result<Timestamp, StoreError>;

    /// The latest time that any broker has acted on.
    async fn high_water(&self) -> Result<Timestamp, StoreError>;

    /// Moves the high-water mark; it never goes back.
    async fn raise_high_water(&self, to: Timestamp) -> Result<(), StoreError>;

    /// Sets the high-water mark to `to`, back too: an operator says that the clock was wrong when it was raised.
    async fn reset_high_water(&self, to: Timestamp) -> Result<(), StoreError>;

    /// The newest lease ever recorded, kept when its row is gone.
    async fn newest_lease(&self) -> Result<Option<LeaseId>, StoreError>;

    /// Raises the newest-lease mark: an operator adopted accounts that are newer than the store.
    async fn raise_newest_lease(&self, id: LeaseId) -> Result<(), StoreError>;

    /// The targets in which nothing is ended until an operator decides, each with the newest lease that the store knew when
    /// the hold began.
    async fn holds(&self) -> Result<BTreeMap<String, Option<LeaseId>>, StoreError>;

    /// Begins a hold; one that is there stays as it is.
    async fn hold(&self, target: &str, newest: Option<LeaseId>) -> Result<(), StoreError>;

    /// Ends a hold, if there is one.
    async fn release(&self, target: &str) -> Result<(), StoreError>;

    /// The head of an audit chain, by the chain's id: how many lines and the hash of the last.
    async fn audit_head(&self, chain: &str) -> Result<Option<AuditHead>, StoreError>;

    /// Keeps the head of an audit chain; it never goes back.
    async fn keep_audit_head(&self, chain: &str, head: &AuditHead) -> Result<(), StoreError>;

    /// Whether it can be written now: for readiness.
    async fn probe(&self) -> Result<(), StoreError>;
}

/// Whether a store may be worked on, and by whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The version of its schema.
    pub schema_version: i64,
    /// When what is in it was moved to another store, if it was.
    pub moved_away_at: Option<Timestamp>,
}

impl Standing {
    /// Whether this program may work on it.
    ///
    /// # Errors
    /// [`StoreError::NotOurs`] that says what to do.
    pub fn check(&self) -> Result<(), StoreError> {
        super::overlaps(self.schema_version)?;
        self.moved_away_at.map_or(Ok(()), |at| Err(super::moved_away(at)))
    }
}

/// The end of an audit chain.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AuditHead {
    /// Number of the last line, from 1.
    pub seq: u64,
    /// Its hash, in hex.
    pub hash: String,
}
