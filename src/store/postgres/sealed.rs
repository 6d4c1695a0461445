//! Sealed secrets.

use async_trait::async_trait;
use sqlx::Connection;

use super::super::{Sealed, SealedRow, StoreError, rows};
use super::Postgres;
use super::outcome::failed;
use crate::seal;

pub(super) const ALL: &str = "SELECT * FROM sealed ORDER BY kind, name, generation";

#[async_trait]
impl Sealed for Postgres {
    async fn sealed(&self) -> Result<Vec<SealedRow>, StoreError> {
        self.within(async {
            let all = sqlx::query(ALL).fetch_all(&mut *self.db().await?).await.map_err(failed)?;
            all.iter().map(rows::sealed).collect()
        })
        .await
    }

    async fn put_sealed(&self, row: &SealedRow) -> Result<bool, StoreError> {
        let put = sqlx::query(
            "INSERT INTO sealed (kind, name, generation, state, key_id, blob, made_at) VALUES ($1, $2, $3, $4, $5, $6, $7) \
             ON CONFLICT DO NOTHING",
        );
        let put = put.bind(&row.kind).bind(&row.name).bind(number(row.generation)).bind(row.state.as_str());
        let put = put.bind(row.sealed.key_id.as_str()).bind(&row.sealed.blob).bind(row.made_at.unix_ms());
        Ok(self.note(put).await? == 1)
    }

    async fn promote_sealed(&self, kind: &str, name: &str, generation: u64, kept: u64) -> Result<bool, StoreError> {
        self.within(async {
            let mut db = self.db().await?;
            let mut transaction = db.begin().await.map_err(failed)?;
            // All of them are locked first, so that two brokers promote one after the other.
            let lock = "SELECT generation FROM sealed WHERE kind = $1 AND name = $2 ORDER BY generation FOR UPDATE";
            let there: Vec<i64> =
                sqlx::query_scalar(lock).bind(kind).bind(name).fetch_all(&mut *transaction).await.map_err(failed)?;
            if !there.contains(&number(generation)) {
                return Ok(false);
            }
            let states = "UPDATE sealed SET state = CASE generation WHEN $3 THEN 'current' ELSE 'previous' END \
                          WHERE kind = $1 AND name = $2";
            let states = sqlx::query(states).bind(kind).bind(name).bind(number(generation));
            states.execute(&mut *transaction).await.map_err(failed)?;
            let old = "DELETE FROM sealed WHERE kind = $1 AND name = $2 AND generation < $3";
            let oldest = number(generation.saturating_sub(kept));
            sqlx::query(old).bind(kind).bind(name).bind(oldest).execute(&mut *transaction).await.map_err(failed)?;
            transaction.commit().await.map_err(failed)?;
            Ok(true)
        })
        .await
    }

    async fn remove_sealed(&self, kind: &str, name: &str, generation: u64) -> Result<bool, StoreError> {
        let remove = sqlx::query("DELETE FROM sealed WHERE kind = $1 AND name = $2 AND generation = $3");
        Ok(self.note(remove.bind(kind).bind(name).bind(number(generation))).await? == 1)
    }

    async fn reseal(&self, row: &SealedRow, fresh: &seal::Sealed) -> Result<bool, StoreError> {
        let reseal = sqlx::query(
            "UPDATE sealed SET key_id = $4, blob = $5 WHERE kind = $1 AND name = $2 AND generation = $3 AND blob = $6",
        );
        let reseal = reseal.bind(&row.kind).bind(&row.name).bind(number(row.generation));
        let reseal = reseal.bind(fresh.key_id.as_str()).bind(&fresh.blob).bind(&row.sealed.blob);
        Ok(self.note(reseal).await? == 1)
    }
}

fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
