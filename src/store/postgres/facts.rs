//! Single facts, and the outbox.

use std::collections::BTreeMap;

use async_trait::async_trait;
use leasehold_sdk::{ClusterName, LeaseId, StoreTag, Timestamp};
use sqlx::PgConnection;
use sqlx::postgres::PgArguments;

use super::super::{AuditHead, Facts, Outbox, OutboxEntry, OutboxLine, Standing, StoreError, moved_away};
use super::Postgres;
use super::claims::clock;
use super::leases::bound;
use super::outcome::failed;
use super::rows;

/// Makes the store's one row when it is new, and refuses that of another cluster. Answers the tag.
pub(super) async fn adopt(db: &mut PgConnection, cluster: &ClusterName) -> Result<StoreTag, StoreError> {
    sqlx::query("INSERT INTO store (one, cluster, tag) VALUES (1, $1, $2) ON CONFLICT DO NOTHING")
        .bind(cluster.as_str())
        .bind(StoreTag::new().as_str())
        .execute(&mut *db)
        .await
        .map_err(failed)?;
    let (owner, tag, moved): (String, String, Option<i64>) =
        sqlx::query_as("SELECT cluster, tag, moved_away_at FROM store").fetch_one(db).await.map_err(failed)?;
    if owner != cluster.as_str() {
        return Err(StoreError::NotOurs(format!(
            "it belongs to cluster {owner:?}, and this broker is of cluster {:?}: set [broker] cluster or [store] url right",
            cluster.as_str()
        )));
    }
    moved.map_or(Ok(()), |at| Err(moved_away(Timestamp::from_unix_ms(at))))?;
    tag.parse().map_err(|e| StoreError::Damaged(format!("its tag {tag:?}: {e}")))
}

type Statement<'q> = sqlx::query::Query<'q, sqlx::Postgres, PgArguments>;

impl Postgres {
    /// Makes one change.
    pub(super) async fn note(&self, statement: Statement<'_>) -> Result<u64, StoreError> {
        self.within(async {
            statement.execute(&mut *self.db().await?).await.map(|done| done.rows_affected()).map_err(failed)
        })
        .await
    }
}

#[async_trait]
impl Facts for Postgres {
    fn tag(&self) -> &StoreTag {
        &self.tag
    }

    async fn standing(&self) -> Result<Standing, StoreError> {
        self.within(async {
            let row = sqlx::query("SELECT schema_version, moved_away_at FROM store");
            rows::standing(&row.fetch_one(&mut *self.db().await?).await.map_err(failed)?)
        })
        .await
    }

    async fn clock(&self) -> Result<Timestamp, StoreError> {
        self.within(async {
            let ms = sqlx::query_scalar(concat!("SELECT ", clock!())).fetch_one(&mut *self.db().await?).await;
            ms.map(Timestamp::from_unix_ms).map_err(failed)
        })
        .await
    }

    async fn high_water(&self) -> Result<Timestamp, StoreError> {
        self.within(async {
            let ms = sqlx::query_scalar("SELECT high_water FROM store").fetch_one(&mut *self.db().await?).await;
            ms.map(Timestamp::from_unix_ms).map_err(failed)
        })
        .await
    }

    async fn raise_high_water(&self, to: Timestamp) -> Result<(), StoreError> {
        let raise = "UPDATE store SET high_water = $1 WHERE high_water < $1";
        self.note(sqlx::query(raise).bind(to.unix_ms())).await.map(drop)
    }

    async fn reset_high_water(&self, to: Timestamp) -> Result<(), StoreError> {
        self.note(sqlx::query("UPDATE store SET high_water = $1").bind(to.unix_ms())).await.map(drop)
    }

    async fn newest_lease(&self) -> Result<Option<LeaseId>, StoreError> {
        self.within(async {
            let newest: Option<String> =
                sqlx::query_scalar(NEWEST).fetch_one(&mut *self.db().await?).await.map_err(failed)?;
            newest.map(rows::lease_id).transpose()
        })
        .await
    }

    async fn raise_newest_lease(&self, id: LeaseId) -> Result<(), StoreError> {
        let raise = "UPDATE store SET newest_lease = $1 WHERE newest_lease IS NULL OR newest_lease < $1";
        self.note(sqlx::query(raise).bind(id.to_string())).await.map(drop)
    }

    async fn holds(&self) -> Result<BTreeMap<String, Option<LeaseId>>, StoreError> {
        self.within(async {
            let holds: Vec<(String, Option<String>)> = sqlx::query_as("SELECT target, newest FROM holds")
                .fetch_all(&mut *self.db().await?)
                .await
                .map_err(failed)?;
            let read =
                |(target, newest): (String, Option<String>)| Ok((target, newest.map(rows::lease_id).transpose()?));
            holds.into_iter().map(read).collect()
        })
        .await
    }

    async fn hold(&self, target: &str, newest: Option<LeaseId>) -> Result<(), StoreError> {
        let hold = sqlx::query("INSERT INTO holds (target, newest) VALUES ($1, $2) ON CONFLICT DO NOTHING");
        self.note(hold.bind(target).bind(newest.map(|id| id.to_string()))).await.map(drop)
    }

    async fn release(&self, target: &str) -> Result<(), StoreError> {
        self.note(sqlx::query("DELETE FROM holds WHERE target = $1").bind(target)).await.map(drop)
    }

    async fn audit_head(&self, chain: &str) -> Result<Option<AuditHead>, StoreError> {
        self.within(async {
            let head: Option<(i64, String)> = sqlx::query_as("SELECT seq, hash FROM audit_heads WHERE chain = $1")
                .bind(chain)
                .fetch_optional(&mut *self.db().await?)
                .await
                .map_err(failed)?;
            Ok(head.map(|(seq, hash)| AuditHead { seq: seq.unsigned_abs(), hash }))
        })
        .await
    }

    async fn keep_audit_head(&self, chain: &str, head: &AuditHead) -> Result<(), StoreError> {
        let keep = sqlx::query(
            "INSERT INTO audit_heads (chain, seq, hash) VALUES ($1, $2, $3) \
             ON CONFLICT (chain) DO UPDATE SET seq = excluded.seq, hash = excluded.hash \
             WHERE excluded.seq > audit_heads.seq",
        );
        let seq = i64::try_from(head.seq).unwrap_or(i64::MAX);
        self.note(keep.bind(chain).bind(seq).bind(&head.hash)).await.map(drop)
    }

    async fn probe(&self) -> Result<(), StoreError> {
        // A change that changes nothing: a server that is read-only, such as a replica, refuses it.
        self.note(sqlx::query("UPDATE store SET high_water = high_water")).await.map(drop)
    }
}

/// The mark outlives rows that are gone; rows newer than it speak for themselves, so that an insert need not move it.
pub(super) const NEWEST: &str = "SELECT max(id) FROM (SELECT newest_lease AS id FROM store \
    UNION ALL SELECT * FROM (SELECT id FROM leases ORDER BY id DESC LIMIT 1) AS newest) AS known";

#[async_trait]
impl Outbox for Postgres {
    async fn outbox(&self, limit: usize) -> Result<Vec<OutboxLine>, StoreError> {
        self.within(async {
            let lines = sqlx::query(OUTBOX)
                .bind(&self.broker)
                .bind(bound(limit))
                .fetch_all(&mut *self.db().await?)
                .await
                .map_err(failed)?;
            lines.iter().map(rows::line).collect()
        })
        .await
    }

    async fn outbox_add(&self, at: Timestamp, entry: &OutboxEntry) -> Result<(), StoreError> {
        let change = serde_json::to_string(entry).map_err(|e| StoreError::Damaged(e.to_string()))?;
        let add = sqlx::query("INSERT INTO outbox (at, change, broker) VALUES ($1, $2, $3)");
        self.note(add.bind(at.unix_ms()).bind(change).bind(&self.broker)).await.map(drop)
    }

    async fn outbox_done(&self, numbers: &[i64]) -> Result<(), StoreError> {
        self.note(sqlx::query("DELETE FROM outbox WHERE number = ANY($1)").bind(numbers)).await.map(drop)
    }
}

pub(super) const OUTBOX: &str = "SELECT number, at, change FROM outbox WHERE broker = $1 ORDER BY number LIMIT $2";
