//! Status lists of tokens.

use async_trait::async_trait;
use leasehold_sdk::{Timestamp, Withdrawal};
use sqlx::SqliteConnection;

use super::super::token_status::{as_json, withdrawal};
use super::super::{StoreError, TokenStatus};
use super::Sqlite;
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

    async fn withdraw_tokens(&self, ended: &[Withdrawal], at: Timestamp) -> Result<(), StoreError> {
        self.write(Change::Withdraw(as_json(ended, at))).await
    }

    async fn withdrawn_tokens(&self, since: Timestamp) -> Result<Vec<Withdrawal>, StoreError> {
        let mut db = self.reader().await?;
        let all = sqlx::query_as("SELECT list, place, ends_at FROM token_withdrawals WHERE told_at >= ?1");
        let all = all.bind(since.unix_ms()).fetch_all(&mut *db).await.map_err(failed)?;
        all.into_iter().map(withdrawal).collect()
    }

    async fn purge_token_status(&self, over: Timestamp, begun: Timestamp) -> Result<(), StoreError> {
        self.write(Change::Purge { over, begun }).await
    }
}

enum Change {
    Begin { list: String, at: Timestamp },
    Withdraw(String),
    Purge { over: Timestamp, begun: Timestamp },
}

#[async_trait]
impl Op for Change {
    type Answer = ();

    async fn apply(&self, db: &mut SqliteConnection) -> Result<(), StoreError> {
        let statements = match self {
            Self::Begin { list, at } => {
                vec![
                    sqlx::query("INSERT INTO token_lists (list, begun_at) VALUES (?1, ?2)")
                        .bind(list)
                        .bind(at.unix_ms()),
                ]
            }
            Self::Withdraw(rows) => {
                let insert = sqlx::query(
                    "INSERT INTO token_withdrawals (list, place, ends_at, told_at) \
                     SELECT value ->> 'list', value ->> 'place', value ->> 'ends_at', value ->> 'told_at' \
                     FROM json_each(?1) WHERE true ON CONFLICT DO NOTHING",
                );
                vec![insert.bind(rows)]
            }
            Self::Purge { over, begun } => vec![
                sqlx::query("DELETE FROM token_withdrawals WHERE ends_at < ?1").bind(over.unix_ms()),
                sqlx::query("DELETE FROM token_lists WHERE begun_at < ?1").bind(begun.unix_ms()),
            ],
        };
        for statement in statements {
            statement.execute(&mut *db).await.map_err(failed)?;
        }
        Ok(())
    }
}
