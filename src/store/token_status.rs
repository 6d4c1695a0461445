//! Which tokens have ended before their time, by their places in status lists.

use async_trait::async_trait;
use leasehold_sdk::{StatusSlot, Timestamp, Withdrawal};

use super::StoreError;

/// Status lists of tokens.
#[async_trait]
pub trait TokenStatus: Send + Sync {
    /// Begins a list: no token points at one that is not recorded.
    async fn begin_token_list(&self, list: &str, at: Timestamp) -> Result<(), StoreError>;

    /// The names of all lists.
    async fn token_lists(&self) -> Result<Vec<String>, StoreError>;

    /// Records ends, whole or not at all. One that is recorded already stays as it is.
    async fn withdraw_tokens(&self, ended: &[Withdrawal]) -> Result<(), StoreError>;

    /// The ends that were recorded at `since` or later by the store's own clock: whoever records may have another.
    async fn withdrawn_tokens(&self, since: Timestamp) -> Result<Vec<Withdrawal>, StoreError>;

    /// Forgets ends of tokens that were over before `over`, oldest first, `limit` at most, and lists that were begun before `begun`.
    /// Answers how many ends.
    async fn purge_token_status(&self, over: Timestamp, begun: Timestamp, limit: usize) -> Result<u64, StoreError>;
}

/// The rows of several ends, as one JSON list: one statement, however many.
pub(super) fn as_json(ended: &[Withdrawal]) -> String {
    let row = |one: &Withdrawal| serde_json::json!({ "list": one.slot.list, "place": one.slot.index, "ends_at": one.until.unix_ms() });
    serde_json::Value::Array(ended.iter().map(row).collect()).to_string()
}

/// A row of the table.
pub(super) fn withdrawal((list, place, ends_at): (String, i64, i64)) -> Result<Withdrawal, StoreError> {
    let index =
        u32::try_from(place).map_err(|_| StoreError::Damaged(format!("{place} is no place in a status list")))?;
    Ok(Withdrawal { slot: StatusSlot { list, index }, until: Timestamp::from_unix_ms(ends_at) })
}
