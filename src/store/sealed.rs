//! Secrets that must be kept, sealed. The store never sees what they hold.

use async_trait::async_trait;
use leasehold_sdk::Timestamp;

use super::StoreError;
use crate::seal;

/// One sealed secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedRow {
    /// What it is.
    pub kind: String,
    /// Whose it is.
    pub name: String,
    /// Counts up. A generation is written once.
    pub generation: u64,
    /// Whether it is in force.
    pub state: SealedState,
    /// The sealed text.
    pub sealed: seal::Sealed,
    /// When it was made.
    pub made_at: Timestamp,
}

/// Whether a secret is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealedState {
    /// To come into force; it may be in force already.
    Next,
    /// In force, as far as is known.
    Current,
    /// Was in force, or was meant to be.
    Previous,
}

impl SealedState {
    /// The word for it in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Current => "current",
            Self::Previous => "previous",
        }
    }

    /// The state of that word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Next, Self::Current, Self::Previous].into_iter().find(|state| state.as_str() == word)
    }
}

/// Sealed secrets.
#[async_trait]
pub trait Sealed: Send + Sync {
    /// All, by kind, name and generation.
    async fn sealed(&self) -> Result<Vec<SealedRow>, StoreError>;

    /// Records one. `false`: its generation is there already, made by somebody else.
    async fn put_sealed(&self, row: &SealedRow) -> Result<bool, StoreError>;

    /// Makes this generation the current one and all others of its kind and name previous, of which the newest `kept` stay.
    /// `false`: there is none of this generation.
    async fn promote_sealed(&self, kind: &str, name: &str, generation: u64, kept: u64) -> Result<bool, StoreError>;

    /// Removes one. `false`: it was not there.
    async fn remove_sealed(&self, kind: &str, name: &str, generation: u64) -> Result<bool, StoreError>;

    /// Puts `fresh` in the place of what `row` holds. `false`: it holds something else by now.
    async fn reseal(&self, row: &SealedRow, fresh: &seal::Sealed) -> Result<bool, StoreError>;
}
