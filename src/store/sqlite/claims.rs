//! What is due, claimed in batches, and what became of it.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use leasehold_sdk::{LeaseId, Timestamp};
use serde_json::json;
use sqlx::SqliteConnection;

use super::super::rows::Cells;
use super::super::{Claims, Outcome, Row, Scope, Settled, StoreError, Turn};
use super::Sqlite;
use super::leases::bound;
use super::outcome::failed;
use super::rows;
use super::writer::Op;
use crate::domain::lease::EndedBy;

/// What a lease says that was closed without being ended.
const FORGOTTEN: &str = "closed by target forget; not ended in the target";

/// Frees every claim. For the open: whoever holds the file's lock is alone, so that all claims are a dead broker's, and
/// what it was ending goes on at once.
pub(super) async fn release_all(db: &mut SqliteConnection) -> Result<(), StoreError> {
    let released = sqlx::query("UPDATE leases SET claimed_until = 0, wake_at = due_at WHERE claimed_until > 0");
    released.execute(db).await.map(drop).map_err(failed)
}

#[async_trait]
impl Claims for Sqlite {
    async fn claim_due(
        &self,
        target: &str,
        turn: Turn,
        scope: Scope,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let mut rows = self
            .write(Claim {
                target: target.to_owned(),
                tried: tried(turn),
                scope,
                now,
                until,
                limit,
                broker: self.broker.clone(),
            })
            .await?;
        rows.sort_by_key(|row| (row.due_at, row.lease.id));
        Ok(rows)
    }

    async fn settle(&self, settled: Vec<Settled>, now: Timestamp) -> Result<(), StoreError> {
        if settled.is_empty() {
            return Ok(());
        }
        self.write(Settle::new(settled, now)).await
    }

    async fn wake(&self, target: &str, now: Timestamp, limit: usize) -> Result<u64, StoreError> {
        self.write(Wake { target: target.to_owned(), now, limit }).await
    }

    async fn next_due(&self, target: &str, turn: Turn) -> Result<Option<Timestamp>, StoreError> {
        let mut db = self.reader().await?;
        let ms: Option<i64> = sqlx::query_scalar(NEXT_DUE)
            .bind(target)
            .bind(tried(turn))
            .fetch_optional(&mut *db)
            .await
            .map_err(failed)?;
        Ok(ms.map(Timestamp::from_unix_ms))
    }

    async fn first_to_die(&self, target: &str) -> Result<Option<Timestamp>, StoreError> {
        let mut db = self.reader().await?;
        let first = sqlx::query_scalar(FIRST_TO_DIE).bind(target).fetch_optional(&mut *db).await;
        Ok(first.map_err(failed)?.map(Timestamp::from_unix_ms))
    }

    async fn live_targets(&self) -> Result<BTreeSet<String>, StoreError> {
        let mut db = self.reader().await?;
        let names: Vec<String> = sqlx::query_scalar(LIVE_TARGETS).fetch_all(&mut *db).await.map_err(failed)?;
        Ok(names.into_iter().collect())
    }

    async fn due_and_live(&self, now: Timestamp) -> Result<(u64, u64), StoreError> {
        let mut db = self.reader().await?;
        sqlx::query_as(DUE_AND_LIVE).bind(now.unix_ms()).fetch_one(&mut *db).await.map_err(failed)
    }

    async fn live_by_target(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        let mut db = self.reader().await?;
        let counts: Vec<(String, u64)> = sqlx::query_as(LIVE_BY_TARGET).fetch_all(&mut *db).await.map_err(failed)?;
        Ok(counts.into_iter().collect())
    }

    async fn purge(&self, ended_before: Timestamp, limit: usize) -> Result<u64, StoreError> {
        self.write(Purge { statement: PURGE, before: ended_before, limit }).await
    }
}

pub(super) const NEXT_DUE: &str =
    "SELECT wake_at FROM leases WHERE target = ?1 AND tried = ?2 AND ended_at IS NULL ORDER BY wake_at LIMIT 1";

/// An active lease wakes at its end, and was never tried.
pub(super) const FIRST_TO_DIE: &str = "SELECT wake_at FROM leases WHERE target = ?1 AND tried = 0 AND ended_at IS NULL \
    AND state = 'active' ORDER BY wake_at LIMIT 1";

/// From one target to the next by the index: it costs as many steps as there are targets.
pub(super) const LIVE_TARGETS: &str = "WITH RECURSIVE found (target) AS ( \
    SELECT min(target) FROM leases INDEXED BY leases_live_of_target WHERE ended_at IS NULL \
    UNION ALL SELECT (SELECT min(target) FROM leases INDEXED BY leases_live_of_target \
        WHERE ended_at IS NULL AND target > found.target) FROM found WHERE found.target IS NOT NULL) \
    SELECT target FROM found WHERE target IS NOT NULL";

pub(super) const DUE_AND_LIVE: &str =
    "SELECT count(*) FILTER (WHERE wake_at <= ?1), count(*) FROM leases WHERE ended_at IS NULL";

pub(super) const LIVE_BY_TARGET: &str = "SELECT target, count(*) FROM leases WHERE ended_at IS NULL GROUP BY target";

/// The oldest ends first. (`+ 0`: as for the insert.)
pub(super) const PURGE: &str = "DELETE FROM leases WHERE rowid IN \
    (SELECT rowid FROM leases WHERE ended_at IS NOT NULL AND ended_at < ?1 ORDER BY ended_at LIMIT ?2 + 0)";

/// Deletes what is over, by a statement that takes a time and a limit.
pub(super) struct Purge {
    pub(super) statement: &'static str,
    pub(super) before: Timestamp,
    pub(super) limit: usize,
}

#[async_trait]
impl Op for Purge {
    type Answer = u64;
    const BULK: bool = true;

    async fn apply(&self, db: &mut SqliteConnection) -> Result<u64, StoreError> {
        let purge = sqlx::query(self.statement).bind(self.before.unix_ms()).bind(bound(self.limit));
        Ok(purge.execute(db).await.map_err(failed)?.rows_affected())
    }
}

pub(super) const WAKE: &str = "UPDATE leases SET due_at = ?2, wake_at = ?2 WHERE rowid IN (SELECT rowid FROM leases \
    WHERE target = ?1 AND tried = 1 AND ended_at IS NULL AND wake_at > ?2 AND claimed_until <= ?2 \
    ORDER BY wake_at LIMIT ?3 + 0)";

struct Wake {
    target: String,
    now: Timestamp,
    limit: usize,
}

#[async_trait]
impl Op for Wake {
    type Answer = u64;
    const BULK: bool = true;

    async fn apply(&self, db: &mut SqliteConnection) -> Result<u64, StoreError> {
        let wake = sqlx::query(WAKE).bind(&self.target).bind(self.now.unix_ms()).bind(bound(self.limit));
        Ok(wake.execute(db).await.map_err(failed)?.rows_affected())
    }
}

/// The value of the column of that name.
fn tried(turn: Turn) -> bool {
    match turn {
        Turn::First => false,
        Turn::Again => true,
    }
}

struct Claim {
    target: String,
    tried: bool,
    scope: Scope,
    now: Timestamp,
    until: Timestamp,
    limit: usize,
    broker: String,
}

pub(super) const CLAIM: &str = concat!(
    "UPDATE leases SET state = 'revoking', claimed_until = ?3, claimed_by = ?7, wake_at = max(due_at, ?3), \
     ended_by = CASE state WHEN 'pending' THEN 'failed' WHEN 'active' THEN 'expiry' ELSE ended_by END, \
     moved_at = iif(state = 'revoking', moved_at, ?2) \
     WHERE rowid IN (SELECT rowid FROM leases WHERE target = ?1 AND tried = ?5 AND ended_at IS NULL \
     AND wake_at <= ?2 AND (?6 OR (state = 'revoking' AND ended_by <> 'expiry')) ORDER BY wake_at LIMIT ?4 + 0) RETURNING ",
    rows::row_columns!()
);

#[async_trait]
impl Op for Claim {
    type Answer = Vec<Row>;
    const BULK: bool = true;

    async fn apply(&self, db: &mut SqliteConnection) -> Result<Vec<Row>, StoreError> {
        let claimed = sqlx::query(CLAIM)
            .bind(&self.target)
            .bind(self.now.unix_ms())
            .bind(self.until.unix_ms())
            .bind(bound(self.limit))
            .bind(self.tried)
            .bind(self.scope == Scope::Due)
            .bind(&self.broker)
            .fetch_all(&mut *db)
            .await
            .map_err(failed)?;
        let mut readable = Vec::with_capacity(claimed.len());
        for row in &claimed {
            match rows::whole(row) {
                Ok(row) => readable.push(row),
                Err(StoreError::Damaged(why)) => set_aside(db, &row.text("id")?, &why, self.until).await?,
                Err(e) => return Err(e),
            }
        }
        Ok(readable)
    }
}

/// A row that somebody edited into what cannot be read stays on record, with the reason where an operator sees it, and
/// delays no other lease of its target (law 7).
async fn set_aside(db: &mut SqliteConnection, id: &str, why: &str, until: Timestamp) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE leases SET attempts = attempts + 1, tried = 1, last_error = ?2, due_at = ?3, wake_at = ?3, \
         claimed_until = 0 WHERE id = ?1",
    )
    .bind(id)
    .bind(why)
    .bind(until.unix_ms())
    .execute(db)
    .await
    .map_err(failed)?;
    Ok(())
}

/// What became of leases, by outcome, each as the JSON list that one statement reads: a batch costs a few statements, not
/// one per lease.
struct Settle {
    dead: String,
    expired: String,
    forgotten: String,
    again: String,
    now: Timestamp,
}

impl Settle {
    fn new(settled: Vec<Settled>, now: Timestamp) -> Self {
        let (mut dead, mut expired, mut forgotten, mut again) = (vec![], vec![], vec![], vec![]);
        for Settled { id, outcome } in settled {
            match outcome {
                Outcome::Dead => dead.push(id),
                Outcome::Expired => expired.push(id),
                Outcome::Forgotten => forgotten.push(id),
                Outcome::Again { error, at } => {
                    again.push(json!({ "id": id, "text": error, "at": at.unix_ms(), "failed": 1 }));
                }
                Outcome::Told { notice, at } => {
                    again.push(json!({ "id": id, "text": notice, "at": at.unix_ms(), "failed": 0 }));
                }
            }
        }
        let list = |ids: Vec<LeaseId>| json!(ids).to_string();
        let again = if again.is_empty() { "[]".to_owned() } else { json!(again).to_string() };
        Self { dead: list(dead), expired: list(expired), forgotten: list(forgotten), again, now }
    }
}

pub(super) const CLOSE: &str = "UPDATE leases SET state = ?2, ended_at = ?3, moved_at = ?3, claimed_until = 0, wake_at = due_at, \
    last_error = coalesce(?4, last_error) WHERE id IN (SELECT value FROM json_each(?1)) AND state = 'revoking'";

/// The plus keeps the index of the state out: each lease of the list is looked up by its id.
pub(super) const AGAIN: &str = "UPDATE leases SET attempts = iif(try.value ->> 'failed', attempts + 1, 0), \
    tried = try.value ->> 'failed', last_error = try.value ->> 'text', \
    due_at = try.value ->> 'at', wake_at = try.value ->> 'at', claimed_until = 0 FROM json_each(?1) AS try \
    WHERE leases.id = try.value ->> 'id' AND +leases.state = 'revoking'";

#[async_trait]
impl Op for Settle {
    type Answer = ();
    const BULK: bool = true;

    async fn apply(&self, db: &mut SqliteConnection) -> Result<(), StoreError> {
        if self.forgotten != "[]" {
            let end = sqlx::query(super::orders::END_LISTED).bind(&self.forgotten).bind(EndedBy::Operator.as_str());
            end.bind(self.now.unix_ms()).execute(&mut *db).await.map_err(failed)?;
        }
        let closed = [
            (&self.dead, "revoked", None),
            (&self.expired, "expired", None),
            (&self.forgotten, "revoked", Some(FORGOTTEN)),
        ];
        for (ids, state, note) in closed.into_iter().filter(|(ids, ..)| *ids != "[]") {
            let close = sqlx::query(CLOSE).bind(ids).bind(state).bind(self.now.unix_ms()).bind(note);
            close.execute(&mut *db).await.map_err(failed)?;
        }
        if self.again != "[]" {
            sqlx::query(AGAIN).bind(&self.again).execute(&mut *db).await.map_err(failed)?;
        }
        Ok(())
    }
}
