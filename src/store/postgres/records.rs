//! How a lease comes to be on record.

use sqlx::postgres::PgArguments;
use sqlx::{Connection, PgConnection};

use leasehold_sdk::Timestamp;

use super::super::{Inserted, NewLease, StoreError};
use super::leases::{bound, json, row};
use super::outcome::failed;

/// A holder with at least this many places left takes one without a lock. Two inserts that do not see each other could both
/// count the last place as free; so many at once that they fill this many places unseen are more than all connections of a
/// cluster.
const PLACES_APART: u64 = 256;

/// The cap is counted by the statement that inserts; the count stops at the cap.
pub(super) const INSERT: &str = "INSERT INTO leases (id, role, target, identity, state, issued_at, expires_at, \
    max_expires_at, rotate_at, renewable, revocable, worst_case_until, account, plan, mint_deadline, due_at, moved_at) \
    SELECT $1, $2, $3, $4, 'pending', $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $14, $5 \
    WHERE NOT EXISTS (SELECT 1 FROM blocks WHERE blocks.identity = $4) AND (SELECT count(*) FROM \
        (SELECT 1 FROM leases WHERE role = $2 AND identity = $4 AND ended_at IS NULL LIMIT $15) AS held) < $15";

/// It does not count for the first that follows an active lease of the same holder.
pub(super) const INSERT_FOLLOWER: &str = "INSERT INTO leases (id, role, target, identity, state, issued_at, expires_at, \
    max_expires_at, rotate_at, renewable, revocable, worst_case_until, account, plan, mint_deadline, due_at, moved_at, \
    replaces) \
    SELECT $1, $2, $3, $4, 'pending', $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $14, $5, $16 \
    WHERE NOT EXISTS (SELECT 1 FROM blocks WHERE blocks.identity = $4) AND ((SELECT count(*) FROM \
        (SELECT 1 FROM leases WHERE role = $2 AND identity = $4 AND ended_at IS NULL LIMIT $15) AS held) < $15 \
    OR (EXISTS (SELECT 1 FROM leases WHERE id = $16 AND role = $2 AND identity = $4 AND state = 'active') \
        AND NOT EXISTS (SELECT 1 FROM leases WHERE replaces = $16 AND ended_at IS NULL)))";

/// The lock of a holder: whoever updates its row has it until the end of its transaction.
const LOCK_HOLDER: &str = "INSERT INTO holders (role, identity) VALUES ($1, $2) \
    ON CONFLICT (role, identity) DO UPDATE SET identity = excluded.identity";

pub(super) async fn insert(db: &mut PgConnection, new: &NewLease) -> Result<Inserted, StoreError> {
    let plan = json(&new.plan)?;
    let apart = new.live_max.saturating_sub(PLACES_APART);
    if new.replaces.is_none() && apart > 0 {
        let done = bind_new(sqlx::query(INSERT), new, &plan).bind(places(apart)).execute(&mut *db).await;
        if done.map_err(failed)?.rows_affected() == 1 {
            return Ok(Inserted::Recorded);
        }
    }
    // Near the cap, and for the one place of a follower, its holder's inserts come one after the other: the second of two
    // statements sees all that was committed before it, and nothing of this holder can be under way.
    let mut transaction = db.begin().await.map_err(failed)?;
    let lock = sqlx::query(LOCK_HOLDER).bind(&new.lease.role).bind(new.lease.identity.as_str());
    lock.execute(&mut *transaction).await.map_err(failed)?;
    let statement = if new.replaces.is_some() { INSERT_FOLLOWER } else { INSERT };
    let mut insert = bind_new(sqlx::query(statement), new, &plan).bind(places(new.live_max));
    if let Some(old) = new.replaces {
        insert = insert.bind(old.to_string());
    }
    let done = insert.execute(&mut *transaction).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    if done.rows_affected() == 1 {
        return Ok(Inserted::Recorded);
    }
    let blocked = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM blocks WHERE identity = $1)")
        .bind(new.lease.identity.as_str())
        .fetch_one(&mut *db)
        .await
        .map_err(failed)?;
    Ok(if blocked { Inserted::Blocked } else { Inserted::CapReached })
}

pub(super) async fn adopt(db: &mut PgConnection, new: &NewLease) -> Result<(), StoreError> {
    let id = new.lease.id;
    let plan = json(&new.plan)?;
    let adopt = sqlx::query(
        "INSERT INTO leases (id, role, target, identity, state, issued_at, expires_at, max_expires_at, rotate_at, \
         renewable, revocable, worst_case_until, account, plan, mint_deadline, due_at, moved_at) \
         VALUES ($1, $2, $3, $4, 'active', $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $6, $5) ON CONFLICT (id) DO NOTHING",
    );
    bind_new(adopt, new, &plan).execute(&mut *db).await.map_err(failed)?;
    match row(db, id).await? {
        Some(row) if row.lease.state.is_live() => Ok(()),
        _ => Err(StoreError::Damaged(format!("lease {id} has ended: its account can be revoked, never adopted"))),
    }
}

fn places(live_max: u64) -> i64 {
    bound(usize::try_from(live_max).unwrap_or(usize::MAX))
}

type Statement<'q> = sqlx::query::Query<'q, sqlx::Postgres, PgArguments>;

/// Binds $1 to $14.
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
