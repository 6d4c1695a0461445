//! How a lease comes to be on record, and how one is closed for which nothing was made.

use std::collections::HashSet;

use async_trait::async_trait;
use leasehold_sdk::{LeaseId, Timestamp};
use serde_json::json;
use sqlx::SqliteConnection;

use super::super::{Inserted, NewLease, StoreError};
use super::leases::row;
use super::outcome::failed;
use super::writer::Op;

pub(super) struct Insert {
    pub(super) new: NewLease,
    pub(super) plan: String,
}

/// The cap is counted by the statement that inserts, so that no two inserts can both take the last place; the count stops at
/// the cap. (`+ 0`: SQLite looks into a bare parameter after LIMIT when it plans, and so plans anew each time one is bound,
/// which costs more than the insert itself.) It does not count for the first that follows an active lease of the same holder.
pub(super) const INSERT: &str = "INSERT INTO leases (id, role, target, identity, state, issued_at, expires_at, \
    max_expires_at, rotate_at, renewable, revocable, worst_case_until, account, plan, mint_deadline, due_at, wake_at, \
    moved_at, replaces) \
    SELECT ?1, ?2, ?3, ?4, 'pending', ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?14, ?14, ?5, ?16 \
    WHERE NOT EXISTS (SELECT 1 FROM blocks WHERE blocks.identity = ?4) AND ((SELECT count(*) FROM \
        (SELECT 1 FROM leases WHERE role = ?2 AND identity = ?4 AND ended_at IS NULL LIMIT ?15 + 0)) < ?15 \
    OR (EXISTS (SELECT 1 FROM leases WHERE id = ?16 AND role = ?2 AND identity = ?4 AND state = 'active') \
        AND NOT EXISTS (SELECT 1 FROM leases WHERE replaces = ?16 AND ended_at IS NULL)))";

#[async_trait]
impl Op for Insert {
    type Answer = Inserted;
    const ONE_STATEMENT: bool = true;

    async fn apply(&self, db: &mut SqliteConnection) -> Result<Inserted, StoreError> {
        let done = bind_new(sqlx::query(INSERT), &self.new, &self.plan)
            .bind(i64::try_from(self.new.live_max).unwrap_or(i64::MAX))
            .bind(self.new.replaces.map(|id| id.to_string()))
            .execute(&mut *db)
            .await
            .map_err(failed)?;
        outcome(db, self, done.rows_affected() == 1).await
    }

    async fn apply_all(ops: &[&Self], db: &mut SqliteConnection) -> Result<Vec<Inserted>, StoreError> {
        // Those that follow a lease, and a cap that was just changed, are rare enough to be taken one by one.
        let plain = |op: &&Self| op.new.replaces.is_none() && op.new.live_max == ops[0].new.live_max;
        if ops.len() == 1 || !ops.iter().all(plain) {
            let mut answers = Vec::with_capacity(ops.len());
            for op in ops {
                answers.push(op.apply(db).await?);
            }
            return Ok(answers);
        }
        let all: Vec<_> = ops.iter().map(|op| op.as_json()).collect();
        let done = sqlx::query_scalar(INSERT_ALL)
            .bind(json!(all).to_string())
            .bind(i64::try_from(ops[0].new.live_max).unwrap_or(i64::MAX))
            .fetch_all(&mut *db)
            .await
            .map_err(failed)?;
        let done: HashSet<String> = done.into_iter().collect();
        let mut answers = Vec::with_capacity(ops.len());
        for op in ops {
            answers.push(outcome(db, op, done.contains(&op.new.lease.id.to_string())).await?);
        }
        Ok(answers)
    }
}

/// Many at once. (OR FAIL: the writer rolls back the whole transaction, so SQLite need not keep what undoes this statement
/// alone.) A holder's own among them count too: each may take only the place that those before it leave.
pub(super) const INSERT_ALL: &str = "INSERT OR FAIL INTO leases (id, role, target, identity, state, issued_at, expires_at, \
    max_expires_at, rotate_at, renewable, revocable, worst_case_until, account, plan, mint_deadline, due_at, wake_at, \
    moved_at) \
    SELECT new ->> 'id', new ->> 'role', new ->> 'target', new ->> 'identity', 'pending', new ->> 'issued_at', \
        new ->> 'expires_at', new ->> 'max_expires_at', new ->> 'rotate_at', new ->> 'renewable', new ->> 'revocable', \
        new ->> 'worst_case_until', new ->> 'account', new ->> 'plan', new ->> 'mint_deadline', new ->> 'mint_deadline', \
        new ->> 'mint_deadline', new ->> 'issued_at' \
    FROM (SELECT value AS new, row_number() OVER (PARTITION BY value ->> 'role', value ->> 'identity' ORDER BY key) AS nth \
        FROM json_each(?1)) \
    WHERE NOT EXISTS (SELECT 1 FROM blocks WHERE blocks.identity = new ->> 'identity') AND nth + (SELECT count(*) FROM (SELECT 1 FROM leases WHERE role = new ->> 'role' AND identity = new ->> 'identity' \
        AND ended_at IS NULL LIMIT ?2 + 0)) <= ?2 \
    RETURNING id";

impl Insert {
    fn as_json(&self) -> serde_json::Value {
        let lease = &self.new.lease;
        json!({
            "id": lease.id,
            "role": lease.role,
            "target": lease.target,
            "identity": lease.identity.as_str(),
            "issued_at": lease.issued_at.unix_ms(),
            "expires_at": lease.expires_at.unix_ms(),
            "max_expires_at": lease.max_expires_at.unix_ms(),
            "rotate_at": lease.rotate_at.unix_ms(),
            "renewable": lease.renewable,
            "revocable": lease.revocable.as_str(),
            "worst_case_until": lease.worst_case_until.map(Timestamp::unix_ms),
            "account": lease.account.to_string(),
            "plan": self.plan,
            "mint_deadline": self.new.mint_deadline.unix_ms(),
        })
    }
}

/// Why one was not recorded, where it was not.
async fn outcome(db: &mut SqliteConnection, op: &Insert, recorded: bool) -> Result<Inserted, StoreError> {
    if recorded {
        return Ok(Inserted::Recorded);
    }
    let blocked = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM blocks WHERE identity = ?1)")
        .bind(op.new.lease.identity.as_str())
        .fetch_one(db)
        .await
        .map_err(failed)?;
    Ok(if blocked { Inserted::Blocked } else { Inserted::CapReached })
}

pub(super) struct Adopt {
    pub(super) new: NewLease,
    pub(super) plan: String,
}

#[async_trait]
impl Op for Adopt {
    type Answer = ();

    async fn apply(&self, db: &mut SqliteConnection) -> Result<(), StoreError> {
        let id = self.new.lease.id;
        let adopt = sqlx::query(
            "INSERT INTO leases (id, role, target, identity, state, issued_at, expires_at, max_expires_at, rotate_at, \
             renewable, revocable, worst_case_until, account, plan, mint_deadline, due_at, wake_at, moved_at) \
             VALUES (?1, ?2, ?3, ?4, 'active', ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?6, ?6, ?5) \
             ON CONFLICT (id) DO NOTHING",
        );
        bind_new(adopt, &self.new, &self.plan).execute(&mut *db).await.map_err(failed)?;
        match row(db, id).await? {
            Some(row) if row.lease.state.is_live() => Ok(()),
            _ => Err(StoreError::Damaged(format!("lease {id} has ended: its account can be revoked, never adopted"))),
        }
    }
}

type Statement<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

/// Binds ?1 to ?14.
fn bind_new<'q>(statement: Statement<'q>, new: &NewLease, plan: &str) -> Statement<'q> {
    let lease = &new.lease;
    statement
        .bind(lease.id.to_string())
        .bind(lease.role.clone())
        .bind(lease.target.clone())
        .bind(lease.identity.as_str().to_owned())
        .bind(lease.issued_at.unix_ms())
        .bind(lease.expires_at.unix_ms())
        .bind(lease.max_expires_at.unix_ms())
        .bind(lease.rotate_at.unix_ms())
        .bind(lease.renewable)
        .bind(lease.revocable.as_str())
        .bind(lease.worst_case_until.map(Timestamp::unix_ms))
        .bind(lease.account.to_string())
        .bind(plan.to_owned())
        .bind(new.mint_deadline.unix_ms())
}

pub(super) struct CloseUnmade {
    pub(super) id: LeaseId,
    pub(super) now: Timestamp,
}

#[async_trait]
impl Op for CloseUnmade {
    type Answer = ();

    async fn apply(&self, db: &mut SqliteConnection) -> Result<(), StoreError> {
        // Two steps, as its life has them: each writes its own line to the outbox.
        let steps = [
            "UPDATE leases SET state = 'revoking', ended_by = 'failed', moved_at = ?2 WHERE id = ?1 AND state = 'pending'",
            "UPDATE leases SET state = 'revoked', ended_at = ?2 WHERE id = ?1 AND state = 'revoking'",
        ];
        for step in steps {
            let done = sqlx::query(step).bind(self.id.to_string()).bind(self.now.unix_ms()).execute(&mut *db).await;
            if done.map_err(failed)?.rows_affected() == 0 {
                break;
            }
        }
        Ok(())
    }
}
