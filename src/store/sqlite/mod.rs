//! The store in one SQLite file, for one broker.
//!
//! One task writes ([`writer`]): what queued while the disk was busy shares the next commit, so that durability does not
//! cost a sync per change. A few read-only connections read. WAL and `synchronous = FULL`: a commit that was answered
//! survives a power cut.

mod beside;
mod blocks;
mod brokers;
mod changes;
mod claims;
mod facts;
mod file;
mod leases;
pub mod moving;
mod orders;
mod outcome;
mod query;
mod records;
mod rooms;
mod sealed;
#[cfg(test)]
mod tests;
mod token_status;
mod writer;

use std::path::Path;
use std::sync::Arc;

use leasehold_sdk::StoreTag;
use sqlx::SqlitePool;

pub use self::beside::{audit_heads, examine, sealed};
use self::outcome::failed;
use self::writer::{Op, Writer};
use super::{Opener, StoreError, rows};
use crate::limits::Limits;
use crate::telemetry::metrics::Metrics;

rows::cells!(sqlx::sqlite::SqliteRow, failed);

/// An open SQLite store. Dropping it lets the changes that wait be made and then frees the file; [`Sqlite::close`] waits
/// for that.
pub struct Sqlite {
    tag: StoreTag,
    broker: String,
    readers: SqlitePool,
    writer: Writer,
}

/// What the writer has done since the store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Changes made.
    pub changes: u64,
    /// Commits that made them: each cost one sync.
    pub commits: u64,
}

impl Sqlite {
    /// Opens the store in `path`, making file (mode 0600) and directory (mode 0700) when there are none, and brings its
    /// schema up to date.
    ///
    /// # Errors
    /// [`StoreError::NotOurs`] when another process has it open, when it belongs to another cluster than the opener's, or when
    /// a newer program made it; [`StoreError::Unavailable`] when the file cannot be made, read or written;
    /// [`StoreError::Damaged`] when it is no sound SQLite file.
    pub async fn open(
        path: &Path,
        opener: &Opener,
        limits: &Limits,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StoreError> {
        let lock = file::claim(path)?;
        let options = file::options(path);
        let mut db = file::connect(&options).await?;
        file::migrate(&mut db).await?;
        let tag = facts::adopt(&mut db, &opener.cluster).await?;
        claims::release_all(&mut db).await?;
        let waiting_max = usize::try_from(limits.store_waiting_writes_max).unwrap_or(usize::MAX);
        Ok(Self {
            tag,
            broker: opener.broker.clone(),
            readers: file::readers(&options),
            writer: Writer::start(db, options, lock, waiting_max, metrics),
        })
    }

    /// Makes the changes that wait, then closes the file. Changes asked for later are refused.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.stop().await;
    }

    /// What was written so far, for metrics.
    pub fn written(&self) -> Written {
        self.writer.written()
    }

    async fn write<O: Op>(&self, op: O) -> Result<O::Answer, StoreError> {
        self.writer.write(op).await
    }

    async fn reader(&self) -> Result<sqlx::pool::PoolConnection<sqlx::Sqlite>, StoreError> {
        self.readers.acquire().await.map_err(failed)
    }
}
