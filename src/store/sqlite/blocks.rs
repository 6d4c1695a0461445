//! Identities that get nothing any more.

use async_trait::async_trait;
use leasehold_identity::SpiffeId;
use sqlx::SqliteConnection;

use super::super::{Block, Blocks, StoreError, rows};
use super::Sqlite;
use super::outcome::failed;
use super::writer::Op;

#[async_trait]
impl Blocks for Sqlite {
    async fn block(&self, block: &Block) -> Result<bool, StoreError> {
        self.write(Change::Block(block.clone())).await
    }

    async fn unblock(&self, identity: &SpiffeId) -> Result<bool, StoreError> {
        self.write(Change::Unblock(identity.clone())).await
    }

    async fn blocks(&self) -> Result<Vec<Block>, StoreError> {
        let mut db = self.reader().await?;
        let all = sqlx::query("SELECT identity, at, by_whom, reason FROM blocks ORDER BY identity");
        all.fetch_all(&mut *db).await.map_err(failed)?.iter().map(rows::block).collect()
    }
}

enum Change {
    Block(Block),
    Unblock(SpiffeId),
}

#[async_trait]
impl Op for Change {
    type Answer = bool;

    async fn apply(&self, db: &mut SqliteConnection) -> Result<bool, StoreError> {
        let statement = match self {
            Self::Block(block) => sqlx::query(
                "INSERT INTO blocks (identity, at, by_whom, reason) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
            )
            .bind(block.identity.as_str())
            .bind(block.at.unix_ms())
            .bind(&block.by_whom)
            .bind(&block.reason),
            Self::Unblock(identity) => sqlx::query("DELETE FROM blocks WHERE identity = ?1").bind(identity.as_str()),
        };
        Ok(statement.execute(db).await.map_err(failed)?.rows_affected() == 1)
    }
}
