//! Who works on this store: one broker at a time, and those that did before.

use async_trait::async_trait;
use leasehold_sdk::{Timestamp, clock};
use sqlx::SqliteConnection;

use super::super::{Brokers, KnownBroker, Presence, StoreError, rows};
use super::Sqlite;
use super::outcome::failed;
use super::writer::Op;

#[async_trait]
impl Brokers for Sqlite {
    async fn beat(&self, presence: &Presence) -> Result<bool, StoreError> {
        self.write(Change::Beat(presence.clone(), clock::wall())).await.map(|changed| changed == 1)
    }

    /// Whoever has the file open is alone: opening it freed all claims, and all lines are its own.
    async fn take_over(&self, _seen_before: Timestamp) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn leave(&self) -> Result<(), StoreError> {
        self.write(Change::Leave(self.broker.clone())).await.map(drop)
    }

    async fn brokers(&self) -> Result<Vec<KnownBroker>, StoreError> {
        let mut db = self.reader().await?;
        let all = sqlx::query(
            "SELECT *, (SELECT count(*) FROM leases WHERE claimed_until > 0 AND claimed_by = brokers.id) AS claimed \
             FROM brokers ORDER BY id",
        );
        all.fetch_all(&mut *db).await.map_err(failed)?.iter().map(rows::broker).collect()
    }

    async fn forget_brokers(&self, seen_before: Timestamp) -> Result<u64, StoreError> {
        self.write(Change::Forget(self.broker.clone(), seen_before)).await
    }
}

enum Change {
    Beat(Presence, Timestamp),
    Leave(String),
    Forget(String, Timestamp),
}

/// Another process under the same id was started later, and has the place.
const BEAT: &str = "INSERT INTO brokers (id, instance, host, version, config_hash, chain, started_at, seen_at) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (id) DO UPDATE SET instance = excluded.instance, \
    host = excluded.host, version = excluded.version, config_hash = excluded.config_hash, chain = excluded.chain, \
    started_at = excluded.started_at, seen_at = excluded.seen_at \
    WHERE brokers.instance = excluded.instance OR brokers.started_at <= excluded.started_at";

#[async_trait]
impl Op for Change {
    type Answer = u64;

    async fn apply(&self, db: &mut SqliteConnection) -> Result<u64, StoreError> {
        let statement = match self {
            Self::Beat(who, now) => sqlx::query(BEAT)
                .bind(&who.id)
                .bind(&who.instance)
                .bind(&who.host)
                .bind(&who.version)
                .bind(&who.config_hash)
                .bind(&who.chain)
                .bind(who.started_at.unix_ms())
                .bind(now.unix_ms()),
            Self::Leave(id) => sqlx::query("UPDATE brokers SET seen_at = 0 WHERE id = ?1").bind(id),
            Self::Forget(id, seen_before) => {
                sqlx::query("DELETE FROM brokers WHERE id <> ?1 AND seen_at < ?2").bind(id).bind(seen_before.unix_ms())
            }
        };
        Ok(statement.execute(db).await.map_err(failed)?.rows_affected())
    }
}
