//! All of a file out, and all into an empty one.

use std::path::Path;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use leasehold_sdk::{ClusterName, Timestamp};
use sqlx::{Connection, SqliteConnection};

use super::super::moving::{self, MoveError, Row, Sink, Source, Table};
use super::super::{OutboxLine, SCHEMA_VERSION, StoreError};
use super::file::{self, Lock};
use super::outcome::failed;

struct File {
    db: SqliteConnection,
    _lock: Lock,
}

async fn open(path: &Path) -> Result<File, StoreError> {
    let lock = file::claim(path)?;
    let mut db = file::connect(&file::options(path)).await?;
    file::migrate(&mut db).await?;
    Ok(File { db, _lock: lock })
}

/// Takes the store out of use, for good unless it is [reopened](reopen), and lets it be read.
///
/// # Errors
/// [`StoreError::NotOurs`] when a broker has it open or it is another cluster's, [`StoreError::Unavailable`] when it cannot be
/// read.
pub async fn take(path: &Path, cluster: &ClusterName, at: Timestamp) -> Result<Box<dyn Source>, StoreError> {
    if !path.exists() {
        return Err(StoreError::Unavailable(format!("there is no file {}", path.display())));
    }
    let mut file = open(path).await?;
    let mark = sqlx::query("UPDATE store SET moved_away_at = COALESCE(moved_away_at, ?1) WHERE cluster = ?2");
    let marked = mark.bind(at.unix_ms()).bind(cluster.as_str()).execute(&mut file.db).await.map_err(failed)?;
    if marked.rows_affected() == 0 {
        return Err(StoreError::NotOurs(format!("it does not belong to cluster {cluster:?}")));
    }
    Ok(Box::new(file))
}

/// Puts a store that was taken out of use into use again.
///
/// # Errors
/// As [`take`].
pub async fn reopen(path: &Path, cluster: &ClusterName) -> Result<(), StoreError> {
    if !path.exists() {
        return Err(StoreError::Unavailable(format!("there is no file {}", path.display())));
    }
    let mut file = open(path).await?;
    let unmark = sqlx::query("UPDATE store SET moved_away_at = NULL WHERE cluster = ?1").bind(cluster.as_str());
    match unmark.execute(&mut file.db).await.map_err(failed)?.rows_affected() {
        0 => Err(StoreError::NotOurs(format!("it does not belong to cluster {cluster:?}"))),
        _ => Ok(()),
    }
}

/// An empty store, in one transaction.
///
/// # Errors
/// [`StoreError::NotOurs`] when it is not empty.
pub async fn fill(path: &Path) -> Result<Box<dyn Sink>, StoreError> {
    let mut file = open(path).await?;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut file.db).await.map_err(failed)?;
    let there: i64 = sqlx::query_scalar("SELECT count(*) FROM store").fetch_one(&mut file.db).await.map_err(failed)?;
    if there > 0 {
        return Err(StoreError::NotOurs("there is a store in it already: give [store] url an empty place".to_owned()));
    }
    Ok(Box::new(file))
}

#[async_trait]
impl Source for File {
    async fn outbox_last(&mut self) -> Result<i64, StoreError> {
        let last = "SELECT COALESCE(max(seq), 0) FROM sqlite_sequence WHERE name = 'outbox'";
        sqlx::query_scalar(last).fetch_one(&mut self.db).await.map_err(failed)
    }

    async fn read(
        &mut self,
        table: &'static Table,
        each: &mut (dyn FnMut(Row) -> Result<(), MoveError> + Send),
    ) -> Result<(), MoveError> {
        let mut rows = sqlx::query(table.read).fetch(&mut self.db);
        while let Some(row) = rows.try_next().await.map_err(failed)? {
            each(moving::row(table, &row)?)?;
        }
        Ok(())
    }
}

#[async_trait]
impl Sink for File {
    async fn write(&mut self, table: &'static Table, rows: &str) -> Result<(), StoreError> {
        sqlx::query(table.write_sqlite).bind(rows).execute(&mut self.db).await.map(drop).map_err(failed)
    }

    async fn finish(mut self: Box<Self>, outbox_last: i64, line: OutboxLine) -> Result<(), StoreError> {
        let db = &mut self.db;
        let version = sqlx::query("UPDATE store SET schema_version = ?1").bind(SCHEMA_VERSION);
        version.execute(&mut *db).await.map_err(failed)?;
        sqlx::query("UPDATE brokers SET seen_at = 0").execute(&mut *db).await.map_err(failed)?;
        // A line that comes and goes takes the number with it.
        let last = self.outbox_last().await?;
        let db = &mut self.db;
        if last < outbox_last {
            let line = sqlx::query("INSERT INTO outbox (number, at, change) VALUES (?1, 0, '')").bind(outbox_last);
            line.execute(&mut *db).await.map_err(failed)?;
            let gone = sqlx::query("DELETE FROM outbox WHERE number = ?1 AND change = ''").bind(outbox_last);
            gone.execute(&mut *db).await.map_err(failed)?;
        }
        let change = serde_json::to_string(&line.entry).map_err(|e| StoreError::Damaged(e.to_string()))?;
        let line = sqlx::query("INSERT INTO outbox (at, change) VALUES (?1, ?2)").bind(line.at.unix_ms()).bind(change);
        line.execute(&mut *db).await.map_err(failed)?;
        sqlx::query("COMMIT").execute(&mut *db).await.map_err(failed)?;
        self.db.close().await.map_err(failed)
    }
}
