//! Single facts, and the outbox.

use std::collections::BTreeMap;

use async_trait::async_trait;
use leasehold_sdk::{ClusterName, LeaseId, StoreTag, Timestamp, clock};
use serde_json::json;
use sqlx::SqliteConnection;

use super::super::{AuditHead, Facts, Outbox, OutboxEntry, OutboxLine, Standing, StoreError, moved_away};
use super::Sqlite;
use super::leases::bound;
use super::outcome::failed;
use super::rows;
use super::writer::Op;

/// Makes the store's one row when it is new, and refuses that of another cluster. Answers the tag.
pub(super) async fn adopt(db: &mut SqliteConnection, cluster: &ClusterName) -> Result<StoreTag, StoreError> {
    sqlx::query("INSERT INTO store (one, cluster, tag) VALUES (1, ?1, ?2) ON CONFLICT DO NOTHING")
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

#[async_trait]
impl Facts for Sqlite {
    fn tag(&self) -> &StoreTag {
        &self.tag
    }

    async fn standing(&self) -> Result<Standing, StoreError> {
        let row = sqlx::query("SELECT schema_version, moved_away_at FROM store");
        rows::standing(&row.fetch_one(&mut *self.reader().await?).await.map_err(failed)?)
    }

    async fn clock(&self) -> Result<Timestamp, StoreError> {
        Ok(clock::wall())
    }

    async fn high_water(&self) -> Result<Timestamp, StoreError> {
        let mut db = self.reader().await?;
        let ms = sqlx::query_scalar("SELECT high_water FROM store").fetch_one(&mut *db).await.map_err(failed)?;
        Ok(Timestamp::from_unix_ms(ms))
    }

    async fn raise_high_water(&self, to: Timestamp) -> Result<(), StoreError> {
        self.write(Note::HighWater(to)).await
    }

    async fn reset_high_water(&self, to: Timestamp) -> Result<(), StoreError> {
        self.write(Note::HighWaterReset(to)).await
    }

    async fn newest_lease(&self) -> Result<Option<LeaseId>, StoreError> {
        let mut db = self.reader().await?;
        let newest: Option<String> = sqlx::query_scalar(NEWEST).fetch_one(&mut *db).await.map_err(failed)?;
        newest.map(rows::lease_id).transpose()
    }

    async fn raise_newest_lease(&self, id: LeaseId) -> Result<(), StoreError> {
        self.write(Note::Newest(id)).await
    }

    async fn holds(&self) -> Result<BTreeMap<String, Option<LeaseId>>, StoreError> {
        let mut db = self.reader().await?;
        let holds: Vec<(String, Option<String>)> =
            sqlx::query_as("SELECT target, newest FROM holds").fetch_all(&mut *db).await.map_err(failed)?;
        let read = |(target, newest): (String, Option<String>)| Ok((target, newest.map(rows::lease_id).transpose()?));
        holds.into_iter().map(read).collect()
    }

    async fn hold(&self, target: &str, newest: Option<LeaseId>) -> Result<(), StoreError> {
        self.write(Note::Hold(target.to_owned(), newest)).await
    }

    async fn release(&self, target: &str) -> Result<(), StoreError> {
        self.write(Note::Release(target.to_owned())).await
    }

    async fn audit_head(&self, chain: &str) -> Result<Option<AuditHead>, StoreError> {
        let mut db = self.reader().await?;
        let head: Option<(u64, String)> = sqlx::query_as("SELECT seq, hash FROM audit_heads WHERE chain = ?1")
            .bind(chain)
            .fetch_optional(&mut *db)
            .await
            .map_err(failed)?;
        Ok(head.map(|(seq, hash)| AuditHead { seq, hash }))
    }

    async fn keep_audit_head(&self, chain: &str, head: &AuditHead) -> Result<(), StoreError> {
        self.write(Note::AuditHead(chain.to_owned(), head.clone())).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.write(Note::Probe).await
    }
}

/// The mark outlives rows that are gone; rows newer than it speak for themselves, so that an insert need not move it.
pub(super) const NEWEST: &str = "SELECT max(id) FROM (SELECT newest_lease AS id FROM store UNION ALL SELECT * FROM (SELECT id FROM leases ORDER BY id DESC LIMIT 1))";

#[async_trait]
impl Outbox for Sqlite {
    async fn outbox(&self, limit: usize) -> Result<Vec<OutboxLine>, StoreError> {
        let mut db = self.reader().await?;
        let lines = sqlx::query("SELECT number, at, change FROM outbox ORDER BY number LIMIT ?1")
            .bind(bound(limit))
            .fetch_all(&mut *db)
            .await
            .map_err(failed)?;
        lines.iter().map(rows::line).collect()
    }

    async fn outbox_add(&self, at: Timestamp, entry: &OutboxEntry) -> Result<(), StoreError> {
        let change = serde_json::to_string(entry).map_err(|e| StoreError::Damaged(e.to_string()))?;
        self.write(Note::OutboxLine(at, change)).await
    }

    async fn outbox_done(&self, numbers: &[i64]) -> Result<(), StoreError> {
        self.write(OutboxDone(json!(numbers).to_string())).await
    }
}

/// A fact to keep.
enum Note {
    HighWater(Timestamp),
    HighWaterReset(Timestamp),
    Newest(LeaseId),
    AuditHead(String, AuditHead),
    OutboxLine(Timestamp, String),
    Hold(String, Option<LeaseId>),
    Release(String),
    Probe,
}

#[async_trait]
impl Op for Note {
    type Answer = ();

    async fn apply(&self, db: &mut SqliteConnection) -> Result<(), StoreError> {
        let statement = match self {
            Self::HighWater(to) => sqlx::query("UPDATE store SET high_water = max(high_water, ?1)").bind(to.unix_ms()),
            Self::HighWaterReset(to) => sqlx::query("UPDATE store SET high_water = ?1").bind(to.unix_ms()),
            Self::Newest(id) => {
                sqlx::query("UPDATE store SET newest_lease = max(coalesce(newest_lease, ''), ?1)").bind(id.to_string())
            }
            Self::AuditHead(chain, head) => sqlx::query(
                "INSERT INTO audit_heads (chain, seq, hash) VALUES (?1, ?2, ?3) \
                 ON CONFLICT (chain) DO UPDATE SET seq = excluded.seq, hash = excluded.hash WHERE excluded.seq > seq",
            )
            .bind(chain)
            .bind(i64::try_from(head.seq).unwrap_or(i64::MAX))
            .bind(&head.hash),
            Self::Hold(target, newest) => {
                sqlx::query("INSERT INTO holds (target, newest) VALUES (?1, ?2) ON CONFLICT DO NOTHING")
                    .bind(target)
                    .bind(newest.map(|id| id.to_string()))
            }
            Self::Release(target) => sqlx::query("DELETE FROM holds WHERE target = ?1").bind(target),
            Self::OutboxLine(at, change) => {
                sqlx::query("INSERT INTO outbox (at, change) VALUES (?1, ?2)").bind(at.unix_ms()).bind(change)
            }
            // A row that comes and goes. Writing what is there already would not do: SQLite sees that nothing changed, and a
            // full disk would pass for a good one.
            Self::Probe => sqlx::query(
                "INSERT INTO holds (target, newest) VALUES ('', NULL) ON CONFLICT DO NOTHING; DELETE FROM holds WHERE target = ''",
            ),
        };
        statement.execute(db).await.map_err(failed)?;
        Ok(())
    }
}

/// Lines that are in the log, as a JSON list of their numbers.
struct OutboxDone(String);

#[async_trait]
impl Op for OutboxDone {
    type Answer = ();
    const BULK: bool = true;
    const ONE_STATEMENT: bool = true;

    async fn apply(&self, db: &mut SqliteConnection) -> Result<(), StoreError> {
        let done = sqlx::query("DELETE FROM outbox WHERE number IN (SELECT value FROM json_each(?1))").bind(&self.0);
        done.execute(db).await.map(drop).map_err(failed)
    }
}
