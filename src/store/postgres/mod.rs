//! The store in a PostgreSQL database, for any number of brokers. Plain SQL: other databases that speak its protocol take it
//! too.
//!
//! Every change is one statement wherever it can be, so that it is whole by itself and needs no transaction around it; the
//! audit line of a lease's end is written by the statement that ends it. Statements that move several leases lock them in one
//! order, so that two brokers wait for each other and never block each other for good.

mod beside;
mod blocks;
mod brokers;
mod changes;
mod claims;
mod db;
mod facts;
mod leases;
mod link;
mod moves;
pub mod moving;
mod orders;
mod outcome;
mod query;
mod records;
mod rooms;
mod schema;
mod sealed;
#[cfg(test)]
mod tests;
mod token_status;

use std::sync::Arc;

use leasehold_sdk::StoreTag;
use sqlx::PgPool;

pub use self::beside::{audit_heads, examine, sealed};
pub use self::link::Link;
use self::outcome::failed;
use super::{Opener, StoreError, rows};
use crate::limits::Limits;
use crate::telemetry::metrics::Metrics;

rows::cells!(sqlx::postgres::PgRow, failed);

/// An open PostgreSQL store.
pub struct Postgres {
    tag: StoreTag,
    broker: String,
    pool: PgPool,
    link: Link,
    metrics: Arc<Metrics>,
}

impl Postgres {
    /// Opens the store in the database that `link` leads to, and brings its schema up to date. Brokers may do so at once.
    ///
    /// # Errors
    /// [`StoreError::NotOurs`] when it belongs to another cluster than the opener's, when a newer program made it, or when its
    /// database sorts text in a way that ids do not; [`StoreError::Unavailable`] when it cannot be reached or does not let us.
    pub async fn open(link: Link, opener: &Opener, limits: &Limits, metrics: Arc<Metrics>) -> Result<Self, StoreError> {
        let pool = link.pool(u32::try_from(limits.store_connections_max).unwrap_or(u32::MAX))?;
        schema::migrate(&pool).await?;
        let mut db = pool.acquire().await.map_err(failed)?;
        schema::sorts_by_bytes(&mut db).await?;
        let tag = facts::adopt(&mut db, &opener.cluster).await?;
        drop(db);
        Ok(Self { tag, broker: opener.broker.clone(), pool, link, metrics })
    }

    /// Lets what is under way finish, then closes all connections. Changes asked for later are refused.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}
