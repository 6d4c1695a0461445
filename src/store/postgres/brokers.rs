//! Who works on this store.

use async_trait::async_trait;
use leasehold_sdk::Timestamp;
use sqlx::Connection;

use super::super::{Brokers, KnownBroker, Presence, StoreError, rows};
use super::Postgres;
use super::claims::clock;
use super::outcome::failed;

/// Another process under the same id was started later, and has the place.
const BEAT: &str = concat!(
    "INSERT INTO brokers (id, instance, host, version, config_hash, chain, started_at, seen_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, ",
    clock!(),
    ") ON CONFLICT (id) DO UPDATE SET instance = excluded.instance, host = excluded.host, version = excluded.version, \
     config_hash = excluded.config_hash, chain = excluded.chain, started_at = excluded.started_at, \
     seen_at = excluded.seen_at \
     WHERE brokers.instance = excluded.instance OR brokers.started_at <= excluded.started_at"
);

const DEAD: &str = "SELECT id FROM brokers WHERE seen_at < $1 AND id <> $2";

const FREE_CLAIMS: &str = "WITH old AS (SELECT id FROM leases WHERE claimed_until > 0 AND ended_at IS NULL \
    AND claimed_by = ANY($1) ORDER BY id FOR UPDATE SKIP LOCKED) \
    UPDATE leases SET claimed_until = 0 FROM old WHERE leases.id = old.id";

const TAKE_LINES: &str = "UPDATE outbox SET broker = $2 WHERE number IN \
    (SELECT number FROM outbox WHERE broker = ANY($1) ORDER BY number FOR UPDATE SKIP LOCKED)";

#[async_trait]
impl Brokers for Postgres {
    async fn beat(&self, presence: &Presence) -> Result<bool, StoreError> {
        let beat = sqlx::query(BEAT)
            .bind(&presence.id)
            .bind(&presence.instance)
            .bind(&presence.host)
            .bind(&presence.version)
            .bind(&presence.config_hash)
            .bind(&presence.chain)
            .bind(presence.started_at.unix_ms());
        Ok(self.note(beat).await? == 1)
    }

    async fn take_over(&self, seen_before: Timestamp) -> Result<u64, StoreError> {
        self.within(async {
            let mut db = self.db().await?;
            let dead: Vec<String> = sqlx::query_scalar(DEAD)
                .bind(seen_before.unix_ms())
                .bind(&self.broker)
                .fetch_all(&mut *db)
                .await
                .map_err(failed)?;
            if dead.is_empty() {
                return Ok(0);
            }
            let claims = sqlx::query(FREE_CLAIMS).bind(&dead).execute(&mut *db).await.map_err(failed)?;
            let lines =
                sqlx::query(TAKE_LINES).bind(&dead).bind(&self.broker).execute(&mut *db).await.map_err(failed)?;
            Ok(claims.rows_affected() + lines.rows_affected())
        })
        .await
    }

    async fn leave(&self) -> Result<(), StoreError> {
        self.within(async {
            let mut db = self.db().await?;
            let mut transaction = db.begin().await.map_err(failed)?;
            let me = std::slice::from_ref(&self.broker);
            sqlx::query(FREE_CLAIMS).bind(me).execute(&mut *transaction).await.map_err(failed)?;
            // Last seen long ago: whoever looks next takes its lines.
            let gone = sqlx::query("UPDATE brokers SET seen_at = 0 WHERE id = $1").bind(&self.broker);
            gone.execute(&mut *transaction).await.map_err(failed)?;
            transaction.commit().await.map_err(failed)
        })
        .await
    }

    async fn brokers(&self) -> Result<Vec<KnownBroker>, StoreError> {
        self.within(async {
            let all = sqlx::query(
                "SELECT brokers.*, (SELECT count(*) FROM leases WHERE claimed_until > 0 AND claimed_by = brokers.id \
                 AND ended_at IS NULL) AS claimed FROM brokers ORDER BY id",
            )
            .fetch_all(&mut *self.db().await?)
            .await
            .map_err(failed)?;
            all.iter().map(rows::broker).collect()
        })
        .await
    }

    async fn forget_brokers(&self, seen_before: Timestamp) -> Result<u64, StoreError> {
        let forget = "DELETE FROM brokers WHERE seen_at < $1 AND id <> $2 \
             AND NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.broker = brokers.id)";
        self.note(sqlx::query(forget).bind(seen_before.unix_ms()).bind(&self.broker)).await
    }
}
