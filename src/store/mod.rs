//! What must outlive a crash. Narrow traits, one implementation per database, one conformance suite for all of them.
//!
//! A method returns when what it did is durable. None of them decides: which changes are legal is said by
//! [`crate::domain::lease::State::may_become`], and each statement carries that condition itself, so that two brokers on one
//! store cannot both win.

use std::collections::BTreeMap;

use async_trait::async_trait;
use leasehold_identity::SpiffeId;
use leasehold_sdk::{LeaseId, Plan, Receipt, StoreTag, Timestamp};

use crate::domain::lease::{EndedBy, Lease, State};

#[cfg(test)]
mod conformance;
pub mod sqlite;

/// Everything that a store is.
pub trait Store: Leases + Claims + Facts + Outbox {}
impl<T: Leases + Claims + Facts + Outbox> Store for T {}

/// The store did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, is full, or is busy beyond its limit: nothing was changed; later it may work.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// What it holds cannot be read. An operator must look.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// It cannot be opened by this broker: it is another cluster's, in use by another broker, or newer than this program.
    #[error("the store was not opened: {0}")]
    NotOurs(String),
}

/// A lease to record, in state `pending`.
#[derive(Debug, Clone)]
pub struct NewLease {
    /// What callers see.
    pub lease: Lease,
    /// All that is needed to make and unmake it.
    pub plan: Plan,
    /// Past this it is ended if it has not become active.
    pub mint_deadline: Timestamp,
    /// Refuse when the identity already holds this many live leases of the role.
    pub live_max: u64,
    /// The active lease whose time to rotate has come and that this one is to follow: as long as no other live lease follows
    /// it, the cap does not count (law 8).
    pub replaces: Option<LeaseId>,
}

/// What became of an insert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inserted {
    /// It is recorded, durably.
    Recorded,
    /// The cap was reached; nothing was recorded.
    CapReached,
}

/// A lease with all that its end needs.
#[derive(Debug, Clone)]
pub struct Row {
    /// What callers see.
    pub lease: Lease,
    /// What was to be made.
    pub plan: Plan,
    /// What the target said when it was made.
    pub receipt: Option<Receipt>,
    /// Its mint's deadline.
    pub mint_deadline: Timestamp,
    /// When it is next looked at: its mint's deadline, its expiry, or its next try.
    pub due_at: Timestamp,
}

/// Which leases somebody may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visible {
    /// All.
    All,
    /// Those of this identity, and all of these roles.
    Own {
        /// The identity.
        identity: SpiffeId,
        /// Roles of which all leases are visible.
        roles: Vec<String>,
    },
}

/// Which leases are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this role.
    pub role: Option<String>,
    /// In this target.
    pub target: Option<String>,
    /// Of this identity.
    pub identity: Option<String>,
    /// In this state.
    pub state: Option<State>,
}

/// Leases: one at a time, and in lists.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Records a lease (law 1). Concurrent calls share commits. Also moves the newest-lease mark.
    async fn insert(&self, new: NewLease) -> Result<Inserted, StoreError>;

    /// `pending -> active` with what the target said. `false`: it is no longer pending, and what was made must be ended.
    async fn activate(&self, id: LeaseId, receipt: Receipt) -> Result<bool, StoreError>;

    /// First half of a renewal: the target may from now on hold the later expiry. The worst case never becomes better by
    /// it: an unbounded one stays unbounded. `false`: it is not active, or expired.
    async fn announce_renewal(
        &self,
        id: LeaseId,
        now: Timestamp,
        worst_case_until: Option<Timestamp>,
    ) -> Result<bool, StoreError>;

    /// Second half: the lease ends at `expires_at` (never earlier than before), and a bounded worst case is at least that.
    /// `None`: it is no longer active.
    async fn renew(&self, id: LeaseId, expires_at: Timestamp) -> Result<Option<Lease>, StoreError>;

    /// `pending | active -> revoking`, due at `now`; one that is already `revoking` becomes due at `now` (when it is claimed,
    /// after the claim) and keeps its reason. An ended one stays.
    /// Answers the lease as it is then; `None`: there is none of this id.
    async fn end(&self, id: LeaseId, by: EndedBy, now: Timestamp) -> Result<Option<Row>, StoreError>;

    /// `pending -> revoking -> revoked` in one step, by `failed`: nothing was made for it, certainly. One that is no longer
    /// pending stays as it is.
    async fn close_unmade(&self, id: LeaseId, now: Timestamp) -> Result<(), StoreError>;

    /// Records an account without a row as an active lease (its expiry brings the reaper to it). No cap. One that is live
    /// already stays as it is; one that has ended cannot come back, which is [`StoreError::Damaged`].
    async fn adopt(&self, lease: NewLease) -> Result<(), StoreError>;

    /// Ends all live leases that match, in one durable step, each as [`Leases::end`] does. Answers how many.
    async fn end_matching(&self, filter: &Filter, by: EndedBy, now: Timestamp) -> Result<u64, StoreError>;

    /// One lease.
    async fn get(&self, id: LeaseId) -> Result<Option<Row>, StoreError>;

    /// Newest first, those older than `before`.
    async fn list(
        &self,
        visible: &Visible,
        filter: &Filter,
        before: Option<LeaseId>,
        limit: usize,
    ) -> Result<Vec<Lease>, StoreError>;

    /// How many live leases match.
    async fn count_live(&self, filter: &Filter) -> Result<u64, StoreError>;

    /// Live leases (pending, active, revoking) of a target, oldest first, those newer than `after`: for the reconciler.
    async fn live_of_target(&self, target: &str, after: Option<LeaseId>, limit: usize) -> Result<Vec<Row>, StoreError>;
}

/// What became of trying to end one lease.
#[derive(Debug, Clone)]
pub struct Settled {
    /// Which.
    pub id: LeaseId,
    /// What happened.
    pub outcome: Outcome,
}

/// The outcome of one try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Dead in the target: `revoking -> revoked`.
    Dead,
    /// Its target ended it by its own clock: `revoking -> expired`.
    Expired,
    /// Closed without being ended in its target, by an operator's word that the target is gone for good.
    Forgotten,
    /// Not ended; to be tried again. Counts an attempt and frees the claim.
    Again {
        /// What the target said.
        error: String,
        /// When to try again.
        at: Timestamp,
    },
}

/// Which due leases are meant. They are worked apart, so that one that cannot be ended delays no other on its target (law 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Those that were not tried yet.
    First,
    /// Those that were tried in vain.
    Again,
}

/// How far a claim reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All that is due.
    Due,
    /// Only what is being ended already, and not because its time was up: while expiry is held.
    AskedFor,
}

/// Work that is due, claimed in batches.
#[async_trait]
pub trait Claims: Send + Sync {
    /// Claims up to `limit` leases of `target`, `turn` and `scope` that are due and not claimed, until `until`: those
    /// `pending | active` become `revoking` (by `failed` and `expiry`). Ordered by when they fell due.
    async fn claim_due(
        &self,
        target: &str,
        turn: Turn,
        scope: Scope,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError>;

    /// Records what became of claimed leases.
    async fn settle(&self, settled: Vec<Settled>, now: Timestamp) -> Result<(), StoreError>;

    /// When the next lease of `target` and `turn` falls due, claimed ones by the end of their claim.
    async fn next_due(&self, target: &str, turn: Turn) -> Result<Option<Timestamp>, StoreError>;

    /// How many live leases of all targets are due at `now` and not claimed, and how many live leases there are.
    async fn due_and_live(&self, now: Timestamp) -> Result<(u64, u64), StoreError>;

    /// Live leases by target, for reload checks and metrics.
    async fn live_by_target(&self) -> Result<BTreeMap<String, u64>, StoreError>;
}

/// Single facts about the store and the cluster.
#[async_trait]
pub trait Facts: Send + Sync {
    /// The tag made with the store.
    fn tag(&self) -> &StoreTag;

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

/// The end of an audit chain.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AuditHead {
    /// Number of the last line, from 1.
    pub seq: u64,
    /// Its hash, in hex.
    pub hash: String,
}

/// Audit lines of endings, written by the same transaction as the change (law 2: ending never waits for audit).
#[async_trait]
pub trait Outbox: Send + Sync {
    /// The oldest lines.
    async fn outbox(&self, limit: usize) -> Result<Vec<OutboxLine>, StoreError>;

    /// Adds a line: of what orders an end, before it is carried out, or of what the log did not take when it should have.
    async fn outbox_add(&self, at: Timestamp, entry: &OutboxEntry) -> Result<(), StoreError>;

    /// Drops the lines up to and including `number`: they are in the log.
    async fn outbox_done(&self, number: i64) -> Result<(), StoreError>;
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
