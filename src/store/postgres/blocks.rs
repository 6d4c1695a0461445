//! Identities that get nothing any more.

use async_trait::async_trait;
use leasehold_identity::SpiffeId;

use super::super::rows::Cells;
use super::super::{Block, Blocks, StoreError};
use super::Postgres;
use super::outcome::failed;

#[async_trait]
impl Blocks for Postgres {
    async fn block(&self, block: &Block) -> Result<bool, StoreError> {
        let insert = sqlx::query(
            "INSERT INTO blocks (identity, at, by_whom, reason) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        );
        let insert = insert.bind(block.identity.as_str()).bind(block.at.unix_ms()).bind(&block.by_whom);
        Ok(self.note(insert.bind(&block.reason)).await? == 1)
    }

    async fn unblock(&self, identity: &SpiffeId) -> Result<bool, StoreError> {
        Ok(self.note(sqlx::query("DELETE FROM blocks WHERE identity = $1").bind(identity.as_str())).await? == 1)
    }

    async fn blocks(&self) -> Result<Vec<Block>, StoreError> {
        self.within(async {
            let rows = sqlx::query("SELECT identity, at, by_whom, reason FROM blocks ORDER BY identity")
                .fetch_all(&mut *self.db().await?)
                .await
                .map_err(failed)?;
            rows.iter()
                .map(|row| {
                    let identity = row.text("identity")?;
                    let identity = SpiffeId::parse(&identity)
                        .map_err(|_| StoreError::Damaged(format!("the block of {identity:?} names no SPIFFE ID")))?;
                    let (by_whom, reason) = (row.text("by_whom")?, row.maybe_text("reason")?);
                    Ok(Block { identity, at: row.time("at")?, by_whom, reason })
                })
                .collect()
        })
        .await
    }
}
