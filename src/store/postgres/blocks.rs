//! Identities that get nothing any more.

use async_trait::async_trait;
use leasehold_identity::SpiffeId;

use super::super::{Block, Blocks, StoreError, rows};
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
            let all = sqlx::query("SELECT identity, at, by_whom, reason FROM blocks ORDER BY identity")
                .fetch_all(&mut *self.db().await?)
                .await
                .map_err(failed)?;
            all.iter().map(rows::block).collect()
        })
        .await
    }
}
