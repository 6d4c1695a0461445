//! What is due, claimed in batches, and what became of it.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use leasehold_sdk::{LeaseId, Timestamp};
use sqlx::{Connection, PgConnection};

use super::super::rows::Cells;
use super::super::{Claims, Outcome, Row, Scope, Settled, StoreError, Turn};
use super::Postgres;
use super::leases::bound;
use super::moves::moving;
use super::orders::END_LISTED;
use super::outcome::failed;
use super::rows;
use crate::domain::lease::EndedBy;

/// What a lease says that was closed without being ended.
const FORGOTTEN: &str = "closed by target forget; not ended in the target";

/// The store's clock, in milliseconds.
macro_rules! clock {
    () => {
        "floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    };
}
pub(super) use clock;

#[async_trait]
impl Claims for Postgres {
    async fn claim_due(
        &self,
        target: &str,
        turn: Turn,
        scope: Scope,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        self.within(async {
            let mut db = self.db().await?;
            let claimed = sqlx::query(CLAIM)
                .bind(&self.broker)
                .bind(target)
                .bind(tried(turn))
                .bind(now.unix_ms())
                .bind(until.unix_ms())
                .bind(scope == Scope::Due)
                .bind(bound(limit))
                .fetch_all(&mut *db)
                .await
                .map_err(failed)?;
            let mut readable = Vec::with_capacity(claimed.len());
            for row in &claimed {
                match rows::whole(row) {
                    Ok(row) => readable.push(row),
                    Err(StoreError::Damaged(why)) => set_aside(&mut db, &row.text("id")?, &why, until).await?,
                    Err(e) => return Err(e),
                }
            }
            readable.sort_by_key(|row| (row.due_at, row.lease.id));
            Ok(readable)
        })
        .await
    }

    async fn settle(&self, settled: Vec<Settled>, now: Timestamp) -> Result<(), StoreError> {
        if settled.is_empty() {
            return Ok(());
        }
        self.within(async { Batch::new(settled).settle(&mut *self.db().await?, &self.broker, now).await }).await
    }

    async fn wake(&self, target: &str, now: Timestamp, limit: usize) -> Result<u64, StoreError> {
        self.note(sqlx::query(WAKE).bind(target).bind(now.unix_ms()).bind(bound(limit))).await
    }

    async fn next_due(&self, target: &str, turn: Turn) -> Result<Option<Timestamp>, StoreError> {
        self.within(async {
            let next = sqlx::query_scalar(NEXT_DUE).bind(target).bind(tried(turn));
            let ms: Option<i64> = next.fetch_optional(&mut *self.db().await?).await.map_err(failed)?;
            Ok(ms.map(Timestamp::from_unix_ms))
        })
        .await
    }

    async fn first_to_die(&self, target: &str) -> Result<Option<Timestamp>, StoreError> {
        self.within(async {
            let first = sqlx::query_scalar(FIRST_TO_DIE).bind(target).fetch_optional(&mut *self.db().await?).await;
            Ok(first.map_err(failed)?.map(Timestamp::from_unix_ms))
        })
        .await
    }

    async fn live_targets(&self) -> Result<BTreeSet<String>, StoreError> {
        self.within(async {
            let names: Vec<String> =
                sqlx::query_scalar(LIVE_TARGETS).fetch_all(&mut *self.db().await?).await.map_err(failed)?;
            Ok(names.into_iter().collect())
        })
        .await
    }

    async fn due_and_live(&self, now: Timestamp) -> Result<(u64, u64), StoreError> {
        self.within(async {
            let counts = sqlx::query_as(DUE_AND_LIVE).bind(now.unix_ms());
            let (due, live): (i64, i64) = counts.fetch_one(&mut *self.db().await?).await.map_err(failed)?;
            Ok((due.unsigned_abs(), live.unsigned_abs()))
        })
        .await
    }

    async fn live_by_target(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        self.within(async {
            let counts: Vec<(String, i64)> =
                sqlx::query_as(LIVE_BY_TARGET).fetch_all(&mut *self.db().await?).await.map_err(failed)?;
            Ok(counts.into_iter().map(|(target, count)| (target, count.unsigned_abs())).collect())
        })
        .await
    }

    async fn purge(&self, ended_before: Timestamp, limit: usize) -> Result<u64, StoreError> {
        self.within(async {
            let purge = sqlx::query_scalar(PURGE).bind(ended_before.unix_ms()).bind(bound(limit));
            let gone: i64 = purge.fetch_one(&mut *self.db().await?).await.map_err(failed)?;
            Ok(gone.unsigned_abs())
        })
        .await
    }
}

pub(super) const WAKE: &str = "WITH old AS (SELECT id FROM leases WHERE target = $1 AND tried = true \
    AND ended_at IS NULL AND wake_at > $2 AND claimed_until <= $2 ORDER BY wake_at LIMIT $3 FOR UPDATE SKIP LOCKED) \
    UPDATE leases SET due_at = $2 FROM old WHERE leases.id = old.id";

pub(super) const NEXT_DUE: &str =
    "SELECT wake_at FROM leases WHERE target = $1 AND tried = $2 AND ended_at IS NULL ORDER BY wake_at LIMIT 1";

/// An active lease wakes at its end, and was never tried.
pub(super) const FIRST_TO_DIE: &str = "SELECT wake_at FROM leases WHERE target = $1 AND tried = false AND ended_at IS NULL \
    AND state = 'active' ORDER BY wake_at LIMIT 1";

pub(super) const DUE_AND_LIVE: &str =
    "SELECT count(*) FILTER (WHERE wake_at <= $1), count(*) FROM leases WHERE ended_at IS NULL";

pub(super) const LIVE_BY_TARGET: &str = "SELECT target, count(*) FROM leases WHERE ended_at IS NULL GROUP BY target";

/// From one target to the next by the index: it costs as many steps as there are targets.
pub(super) const LIVE_TARGETS: &str = "WITH RECURSIVE found (target) AS ( \
    (SELECT target FROM leases WHERE ended_at IS NULL ORDER BY target LIMIT 1) \
    UNION ALL SELECT (SELECT target FROM leases WHERE ended_at IS NULL AND target > found.target ORDER BY target LIMIT 1) \
    FROM found WHERE found.target IS NOT NULL) SELECT target FROM found WHERE target IS NOT NULL";

/// The oldest ends first. The newest lease ever recorded outlives its row.
pub(super) const PURGE: &str = "WITH old AS (SELECT id FROM leases WHERE ended_at IS NOT NULL AND ended_at < $1 \
    ORDER BY ended_at LIMIT $2 FOR UPDATE SKIP LOCKED), \
    gone AS (DELETE FROM leases USING old WHERE leases.id = old.id RETURNING leases.id), \
    mark AS (UPDATE store SET newest_lease = (SELECT max(id) FROM gone) \
        WHERE newest_lease IS NULL OR newest_lease < (SELECT max(id) FROM gone)) \
    SELECT count(*) FROM gone";

/// The value of the column of that name.
fn tried(turn: Turn) -> bool {
    match turn {
        Turn::First => false,
        Turn::Again => true,
    }
}

/// What another broker is claiming at this moment is passed over.
pub(super) const CLAIM: &str = moving! {
    which: "target = $2 AND tried = $3 AND ended_at IS NULL AND wake_at <= $4 \
            AND ($6 OR (state = 'revoking' AND ended_by <> 'expiry')) ORDER BY wake_at LIMIT $7 FOR UPDATE SKIP LOCKED",
    set: "state = 'revoking', claimed_until = $5, claimed_by = $1, \
          ended_by = CASE state WHEN 'pending' THEN 'failed' WHEN 'active' THEN 'expiry' ELSE ended_by END, \
          moved_at = CASE state WHEN 'revoking' THEN moved_at ELSE $4 END",
    answer: rows::row_columns!()
};

/// A row that somebody edited into what cannot be read stays on record, with the reason where an operator sees it, and
/// delays no other lease of its target (law 7).
async fn set_aside(db: &mut PgConnection, id: &str, why: &str, until: Timestamp) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE leases SET attempts = attempts + 1, last_error = $2, due_at = $3, claimed_until = 0 WHERE id = $1",
    )
    .bind(id)
    .bind(why)
    .bind(until.unix_ms())
    .execute(db)
    .await
    .map(drop)
    .map_err(failed)
}

/// What became of leases, by outcome: a batch costs a few statements, not one per lease.
#[derive(Default)]
struct Batch {
    dead: Vec<String>,
    expired: Vec<String>,
    forgotten: Vec<String>,
    again: Vec<String>,
    texts: Vec<String>,
    again_at: Vec<i64>,
    failed: Vec<bool>,
}

pub(super) const CLOSE: &str = moving! {
    which: "id = ANY($2) AND state = 'revoking' ORDER BY id FOR UPDATE",
    set: "state = $3, ended_at = $4, moved_at = $4, claimed_until = 0, last_error = coalesce($5, last_error)",
    answer: "id"
};

pub(super) const AGAIN: &str = "WITH try AS (SELECT unnest($2::text[]) AS id, unnest($3::text[]) AS error, \
    unnest($4::bigint[]) AS at, unnest($5::boolean[]) AS failed), old AS (SELECT id FROM leases WHERE id = ANY($2) AND state = 'revoking' \
    AND (claimed_by IS NULL OR claimed_by = $1 OR claimed_until = 0) ORDER BY id FOR UPDATE) \
    UPDATE leases SET attempts = CASE WHEN try.failed THEN attempts + 1 ELSE 0 END, last_error = try.error, due_at = try.at, claimed_until = 0 \
    FROM try, old WHERE leases.id = try.id AND leases.id = old.id";

impl Batch {
    fn new(settled: Vec<Settled>) -> Self {
        let mut batch = Self::default();
        for Settled { id, outcome } in settled {
            let id: LeaseId = id;
            match outcome {
                Outcome::Dead => batch.dead.push(id.to_string()),
                Outcome::Expired => batch.expired.push(id.to_string()),
                Outcome::Forgotten => batch.forgotten.push(id.to_string()),
                Outcome::Again { error, at } => batch.look_again(id, error, at, true),
                Outcome::Told { notice, at } => batch.look_again(id, notice, at, false),
            }
        }
        batch
    }

    fn look_again(&mut self, id: LeaseId, text: String, at: Timestamp, failed: bool) {
        self.again.push(id.to_string());
        self.texts.push(text);
        self.again_at.push(at.unix_ms());
        self.failed.push(failed);
    }

    async fn settle(self, db: &mut PgConnection, broker: &str, now: Timestamp) -> Result<(), StoreError> {
        let mut transaction = db.begin().await.map_err(failed)?;
        if !self.forgotten.is_empty() {
            let end = sqlx::query(END_LISTED).bind(broker).bind(&self.forgotten).bind(EndedBy::Operator.as_str());
            end.bind(now.unix_ms()).execute(&mut *transaction).await.map_err(failed)?;
        }
        let closed = [
            (&self.dead, "revoked", None),
            (&self.expired, "expired", None),
            (&self.forgotten, "revoked", Some(FORGOTTEN)),
        ];
        for (ids, state, note) in closed.into_iter().filter(|(ids, ..)| !ids.is_empty()) {
            let close = sqlx::query(CLOSE).bind(broker).bind(ids).bind(state).bind(now.unix_ms()).bind(note);
            close.execute(&mut *transaction).await.map_err(failed)?;
        }
        if !self.again.is_empty() {
            let again = sqlx::query(AGAIN).bind(broker).bind(&self.again).bind(&self.texts).bind(&self.again_at);
            again.bind(&self.failed).execute(&mut *transaction).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }
}
