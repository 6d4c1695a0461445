//! What is due, claimed in batches.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use leasehold_sdk::{LeaseId, Timestamp};

use super::{Row, StoreError};

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
    /// Closed without being ended in its target, by an operator's word that the target is gone for good. Also a lease that was
    /// not being ended: it becomes `revoking` by `operator` first.
    Forgotten,
    /// All is done that can be done, and it is not dead yet: it ends by its target's own clock. Frees the claim; what went wrong before
    /// is forgotten.
    Told {
        /// What was done, for its holder.
        notice: String,
        /// When to look again.
        at: Timestamp,
    },
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

    /// Records what became of claimed leases. What is dead is dead, whoever says so; `Again` counts only for a lease that
    /// this broker still has the claim of: one that was taken over is no longer its business.
    async fn settle(&self, settled: Vec<Settled>, now: Timestamp) -> Result<(), StoreError>;

    /// Makes up to `limit` leases of `target` due `now` that were tried in vain, wait for a later try and are not claimed.
    /// Answers how many.
    async fn wake(&self, target: &str, now: Timestamp, limit: usize) -> Result<u64, StoreError>;

    /// When the next lease of `target` and `turn` falls due, claimed ones by the end of their claim.
    async fn next_due(&self, target: &str, turn: Turn) -> Result<Option<Timestamp>, StoreError>;

    /// The end of the active lease of `target` that ends first: when somebody first loses a credential if no broker comes back.
    async fn first_to_die(&self, target: &str) -> Result<Option<Timestamp>, StoreError>;

    /// The targets that have live leases: found without walking over the leases, for a start.
    async fn live_targets(&self) -> Result<BTreeSet<String>, StoreError>;

    /// How many live leases of all targets are due at `now` and not claimed, and how many live leases there are. Walks over
    /// all that live.
    async fn due_and_live(&self, now: Timestamp) -> Result<(u64, u64), StoreError>;

    /// Live leases by target, for metrics. Walks over all that live.
    async fn live_by_target(&self) -> Result<BTreeMap<String, u64>, StoreError>;

    /// Deletes up to `limit` leases that ended before this, oldest end first. Their audit lines and the newest-lease mark stay.
    /// Answers how many.
    async fn purge(&self, ended_before: Timestamp, limit: usize) -> Result<u64, StoreError>;
}
