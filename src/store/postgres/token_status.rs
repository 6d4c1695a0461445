//! Status lists of tokens.

use async_trait::async_trait;
use leasehold_sdk::{Timestamp, Withdrawal};

use super::super::token_status::{as_json, withdrawal};
use super::super::{StoreError, TokenStatus};
use super::Postgres;
use super::claims::clock;
use super::leases::bound;
use super::outcome::failed;

#[async_trait]
impl TokenStatus for Postgres {
    async fn begin_token_list(&self, list: &str, at: Timestamp) -> Result<(), StoreError> {
        let insert = sqlx::query("INSERT INTO token_lists (list, begun_at) VALUES ($1, $2)");
        self.note(insert.bind(list).bind(at.unix_ms())).await.map(drop)
    }

    async fn token_lists(&self) -> Result<Vec<String>, StoreError> {
        self.within(async {
            let all = sqlx::query_scalar("SELECT list FROM token_lists");
            all.fetch_all(&mut *self.db().await?).await.map_err(failed)
        })
        .await
    }

    async fn withdraw_tokens(&self, ended: &[Withdrawal]) -> Result<(), StoreError> {
        self.note(sqlx::query(WITHDRAW).bind(as_json(ended))).await.map(drop)
    }

    async fn withdrawn_tokens(&self, since: Timestamp) -> Result<Vec<Withdrawal>, StoreError> {
        let all = self.within(async {
            let all = sqlx::query_as(TOLD).bind(since.unix_ms());
            all.fetch_all(&mut *self.db().await?).await.map_err(failed)
        });
        all.await?.into_iter().map(withdrawal).collect()
    }

    async fn purge_token_status(&self, over: Timestamp, begun: Timestamp, limit: usize) -> Result<u64, StoreError> {
        let lists = sqlx::query("DELETE FROM token_lists WHERE begun_at < $1");
        self.note(lists.bind(begun.unix_ms())).await?;
        self.note(sqlx::query(PURGE).bind(over.unix_ms()).bind(bound(limit))).await
    }
}

/// In one order, so that two brokers with the same tokens wait for each other and never block each other for good.
const WITHDRAW: &str = concat!(
    "INSERT INTO token_withdrawals (list, place, ends_at, told_at) SELECT list, place, ends_at, ",
    clock!(),
    " FROM json_populate_recordset(NULL::token_withdrawals, $1::json) ORDER BY list, place ON CONFLICT DO NOTHING"
);

pub(super) const TOLD: &str = "SELECT list, place, ends_at FROM token_withdrawals WHERE told_at >= $1";

pub(super) const PURGE: &str = "DELETE FROM token_withdrawals WHERE (list, place) IN (SELECT list, place \
    FROM token_withdrawals WHERE ends_at < $1 ORDER BY ends_at LIMIT $2)";
