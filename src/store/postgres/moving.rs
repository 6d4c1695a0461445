//! All of a database out, and all into an empty one.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use leasehold_sdk::{ClusterName, Timestamp};
use sqlx::{Connection, PgConnection};

use super::super::moving::{self, MoveError, Row, Sink, Source, Table};
use super::super::{OutboxLine, SCHEMA_VERSION, StoreError};
use super::link::Link;
use super::outcome::failed;
use super::{beside, schema};

/// Brokers that were seen so lately may be at work.
const ALIVE: &str =
    "SELECT id FROM brokers WHERE seen_at >= CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS bigint) - $1";

struct Database(PgConnection);

async fn open(link: &Link) -> Result<PgConnection, StoreError> {
    let mut db = beside::connect(link).await?;
    // All rows at once take longer than one call of a broker may.
    for unbounded in ["SET statement_timeout = 0", "SET idle_in_transaction_session_timeout = 0"] {
        sqlx::query(unbounded).execute(&mut db).await.map_err(failed)?;
    }
    Ok(db)
}

/// Takes the store out of use, for good unless it is [reopened](reopen), and lets it be read. Brokers that run see it within
/// seconds and stop working; `dead_after`: how long one is silent that has stopped.
///
/// # Errors
/// [`StoreError::NotOurs`] when it is another cluster's or brokers are at work on it, [`StoreError::Unavailable`] when it cannot
/// be read.
pub async fn take(
    link: &Link,
    cluster: &ClusterName,
    at: Timestamp,
    dead_after: Duration,
) -> Result<Box<dyn Source>, StoreError> {
    let mut db = open(link).await?;
    beside::owner(&mut db, cluster).await?;
    nobody_is_at_work(&mut db, dead_after).await?;
    let mark = sqlx::query("UPDATE store SET moved_away_at = COALESCE(moved_away_at, $1)").bind(at.unix_ms());
    mark.execute(&mut db).await.map_err(failed)?;
    // One that started in between has not seen the mark: what it does now would be lost to the new place.
    if let Err(busy) = nobody_is_at_work(&mut db, dead_after).await {
        sqlx::query("UPDATE store SET moved_away_at = NULL").execute(&mut db).await.map_err(failed)?;
        return Err(busy);
    }
    sqlx::query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").execute(&mut db).await.map_err(failed)?;
    Ok(Box::new(Database(db)))
}

async fn nobody_is_at_work(db: &mut PgConnection, dead_after: Duration) -> Result<(), StoreError> {
    let dead_after = i64::try_from(dead_after.as_millis()).unwrap_or(i64::MAX);
    let alive: Vec<String> = sqlx::query_scalar(ALIVE).bind(dead_after).fetch_all(db).await.map_err(failed)?;
    if alive.is_empty() {
        return Ok(());
    }
    Err(StoreError::NotOurs(format!(
        "brokers are at work on it: {}; stop them all, and try again some seconds later",
        alive.join(", ")
    )))
}

/// Puts a store that was taken out of use into use again.
///
/// # Errors
/// As [`take`].
pub async fn reopen(link: &Link, cluster: &ClusterName) -> Result<(), StoreError> {
    let mut db = beside::connect(link).await?;
    beside::owner(&mut db, cluster).await?;
    sqlx::query("UPDATE store SET moved_away_at = NULL").execute(&mut db).await.map(drop).map_err(failed)
}

/// An empty store, in one transaction.
///
/// # Errors
/// [`StoreError::NotOurs`] when it is not empty.
pub async fn fill(link: &Link) -> Result<Box<dyn Sink>, StoreError> {
    let pool = link.pool(1)?;
    schema::migrate(&pool).await?;
    pool.close().await;
    let mut db = open(link).await?;
    schema::sorts_by_bytes(&mut db).await?;
    sqlx::query("BEGIN").execute(&mut db).await.map_err(failed)?;
    let there: i64 = sqlx::query_scalar("SELECT count(*) FROM store").fetch_one(&mut db).await.map_err(failed)?;
    if there > 0 {
        return Err(StoreError::NotOurs("there is a store in it already: give [store] url an empty place".to_owned()));
    }
    Ok(Box::new(Database(db)))
}

#[async_trait]
impl Source for Database {
    async fn outbox_last(&mut self) -> Result<i64, StoreError> {
        sqlx::query_scalar("SELECT last_value FROM outbox_number_seq").fetch_one(&mut self.0).await.map_err(failed)
    }

    async fn read(
        &mut self,
        table: &'static Table,
        each: &mut (dyn FnMut(Row) -> Result<(), MoveError> + Send),
    ) -> Result<(), MoveError> {
        let mut rows = sqlx::query(table.read).fetch(&mut self.0);
        while let Some(row) = rows.try_next().await.map_err(failed)? {
            each(moving::row(table, &row)?)?;
        }
        Ok(())
    }
}

#[async_trait]
impl Sink for Database {
    async fn write(&mut self, table: &'static Table, rows: &str) -> Result<(), StoreError> {
        sqlx::query(table.write_postgres).bind(rows).execute(&mut self.0).await.map(drop).map_err(failed)
    }

    async fn finish(mut self: Box<Self>, outbox_last: i64, line: OutboxLine) -> Result<(), StoreError> {
        let db = &mut self.0;
        let version = sqlx::query("UPDATE store SET schema_version = $1").bind(SCHEMA_VERSION);
        version.execute(&mut *db).await.map_err(failed)?;
        let number = sqlx::query("SELECT setval('outbox_number_seq', $1)").bind(outbox_last.max(1));
        number.execute(&mut *db).await.map_err(failed)?;
        let change = serde_json::to_string(&line.entry).map_err(|e| StoreError::Damaged(e.to_string()))?;
        let line = sqlx::query("INSERT INTO outbox (at, change) VALUES ($1, $2)").bind(line.at.unix_ms()).bind(change);
        line.execute(&mut *db).await.map_err(failed)?;
        // Lines that a file's only broker left are those of the broker that worked there last.
        let lines = "UPDATE outbox SET broker = (SELECT id FROM brokers ORDER BY seen_at DESC LIMIT 1) \
                     WHERE broker = '' AND EXISTS (SELECT 1 FROM brokers)";
        sqlx::query(lines).execute(&mut *db).await.map_err(failed)?;
        sqlx::query("UPDATE brokers SET seen_at = 0").execute(&mut *db).await.map_err(failed)?;
        sqlx::query("COMMIT").execute(&mut *db).await.map_err(failed)?;
        self.0.close().await.map_err(failed)
    }
}
