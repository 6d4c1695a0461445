//! Identities that get nothing any more. The statements that insert and renew a lease look here themselves.

use async_trait::async_trait;
use leasehold_identity::SpiffeId;
use leasehold_sdk::Timestamp;

use super::StoreError;

/// One blocked identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Who is blocked.
    pub identity: SpiffeId,
    /// Since when.
    pub at: Timestamp,
    /// Who ordered it.
    pub by_whom: String,
    /// Why, in an operator's words.
    pub reason: Option<String>,
}

/// Blocked identities.
#[async_trait]
pub trait Blocks: Send + Sync {
    /// Blocks an identity. `false`: it was blocked already, and that block stays as it is.
    async fn block(&self, block: &Block) -> Result<bool, StoreError>;

    /// Lifts a block. `false`: there was none.
    async fn unblock(&self, identity: &SpiffeId) -> Result<bool, StoreError>;

    /// All blocks.
    async fn blocks(&self) -> Result<Vec<Block>, StoreError>;
}
