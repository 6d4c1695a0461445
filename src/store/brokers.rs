//! Who works on this store. A claim is good as long as its broker is seen to be alive: a dead one's work is taken over as soon as
//! that is noticed, and no broker leads.

use async_trait::async_trait;
use leasehold_sdk::Timestamp;

use super::StoreError;

/// What a broker says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// Its id, kept in its `data_dir`.
    pub id: String,
    /// This process of it.
    pub instance: String,
    /// The host's name.
    pub host: String,
    /// Of the program.
    pub version: String,
    /// Of the configuration in force.
    pub config_hash: String,
    /// Its audit chain.
    pub chain: String,
    /// When the process started.
    pub started_at: Timestamp,
}

/// A broker as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownBroker {
    /// What it said of itself.
    pub presence: Presence,
    /// When it was last seen, by the store's clock.
    pub seen_at: Timestamp,
    /// Leases that it is ending just now.
    pub claimed: u64,
}

/// The brokers of a store.
#[async_trait]
pub trait Brokers: Send + Sync {
    /// Says that this broker is alive. `false`: another process runs under the same id.
    async fn beat(&self, presence: &Presence) -> Result<bool, StoreError>;

    /// Frees what brokers had that were last seen before `seen_before`: their claims are anybody's, their outbox lines become
    /// this broker's. Answers how many claims and lines.
    async fn take_over(&self, seen_before: Timestamp) -> Result<u64, StoreError>;

    /// This broker stops: what it had claimed is free at once, and its lines are another's.
    async fn leave(&self) -> Result<(), StoreError>;

    /// All that are known.
    async fn brokers(&self) -> Result<Vec<KnownBroker>, StoreError>;

    /// Forgets those last seen before `seen_before`.
    async fn forget_brokers(&self, seen_before: Timestamp) -> Result<u64, StoreError>;
}
