//! Status lists of tokens.

use async_trait::async_trait;
use leasehold_sdk::{Timestamp, Withdrawal, clock};
use sqlx::SqliteConnection;

use super::super::token_status::{as_json, withdrawal};
use super::super::{StoreError, TokenStatus};
use super::Sqlite;
use super::claims::Purge;
use super::outcome::failed;
use super::writer::Op;

#[async_trait]
impl TokenStatus for Sqlite {
    async fn begin_token_list(&self, list: &str, at: Timestamp) -> Result<(), StoreError> {
        self.write(Change::Begin { list: list.to_owned(), at }).await
    }

    async fn token_lists(&self) -> Result<Vec<String>, StoreError> {
        let mut db = self.reader().await?;
        sqlx::query_scalar("SELECT list FROM token_lists").fetch_all(&mut *db).await.map_err(failed)
    }

    async fn withdraw_tokens(&self, ended: &[Withdrawal]) -> Result<(), StoreError> {
        self.write(Change::Withdraw { rows: as_json(ended), at: clock::wall() }).await
    }

    async fn withdrawn_tokens(&self, since: Timestamp) -> Result<Vec<Withdrawal>, StoreError> {
        let mut db = self.reader().await?;
        let all = sqlx::query_as(TOLD).bind(since.unix_ms()).fetch_all(&mut *db).await.map_err(failed)?;
        all.into_iter().map(withdrawal).collect()
    }

    async fn purge_token_status(&self, over: Timestamp, begun: Timestamp, limit: usize) -> Result<u64, StoreError> {
        self.write(Change::Forget { begun }).await?;
        self.write(Purge { statement: PURGE, before: over, limit }).await
    }
}

pub(super) const TOLD: &str = "SELECT list, place, ends_at FROM token_withdrawals WHERE told_at >= ?1";

/// (`+ 0`: as for leases.)
pub(super) const PURGE: &str = "DELETE FROM token_withdrawals WHERE rowid IN \
    (SELECT rowid FROM token_withdrawals WHERE ends_at < ?1 ORDER BY ends_at LIMIT ?2 + 0)";

enum Change {
    Begin { list: String, at: Timestamp },
    Withdraw { rows: String, at: Timestamp },
    Forget { begun: Timestamp },
}

#[async_trait]
impl Op for Change {
    type Answer = ();

    async fn apply(&self, db: &mut SqliteConnection) -> Result<(), StoreError> {
        let statement = match self {
            Self::Begin { list, at } => {
                sqlx::query("INSERT INTO token_lists (list, begun_at) VALUES (?1, ?2)").bind(list).bind(at.unix_ms())
            }
            Self::Withdraw { rows, at } => sqlx::query(
                "INSERT INTO token_withdrawals (list, place, ends_at, told_at) \
                 SELECT value ->> 'list', value ->> 'place', value ->> 'ends_at', ?2 FROM json_each(?1) WHERE true \
                 ON CONFLICT DO NOTHING",
            )
            .bind(rows)
            .bind(at.unix_ms()),
            Self::Forget { begun } => sqlx::query("DELETE FROM token_lists WHERE begun_at < ?1").bind(begun.unix_ms()),
        };
        statement.execute(db).await.map(drop).map_err(failed)
    }
}
