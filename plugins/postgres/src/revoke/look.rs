//! The look: which accounts are there, and which can never come to be.

use std::collections::HashMap;
use std::time::Duration;

use leasehold_sdk::{EngineError, Reason};
use sqlx::Row;

use super::{Item, fail_all, room};
use crate::engine::Target;
use crate::quote::{quote_literal, quote_literals};
use crate::session::Session;
use crate::sql_error::SqlError;

/// How often the holders of a mint's lock are ended before this round gives up.
const ATTEMPTS: usize = 4;

/// Finds the OIDs that the names have now, and decides about those that are not there.
pub(super) async fn look(target: &Target, session: &mut Session, items: &mut [Item]) {
    let names: Vec<&str> = items.iter().map(|i| i.name.as_str()).collect();
    let mut found = present(session, &names).await;
    if matches!(&found, Err(e) if e.is_out_of_room()) {
        room::make(target, session, items).await;
        let names: Vec<&str> = items.iter().map(|i| i.name.as_str()).collect();
        found = present(session, &names).await;
    }
    match found {
        Ok(there) => items.iter_mut().for_each(|i| i.present = there.get(&i.name).copied()),
        Err(e) => return fail_all(items, &e),
    }
    for item in items.iter_mut().filter(|i| i.under_way() && i.present.is_none() && i.receipt.is_none()) {
        if let Err(e) = never_to_be(target, session, item).await {
            item.fail(e);
        }
    }
}

/// The OIDs of those names that exist.
pub(super) async fn present(session: &mut Session, names: &[&str]) -> Result<HashMap<String, u32>, SqlError> {
    let list = quote_literals(names).map_err(|e| SqlError::Lost(e.to_string()))?;
    let sql = format!(
        "SELECT r.rolname::pg_catalog.text AS name, r.oid::pg_catalog.int8 AS oid FROM pg_catalog.pg_roles AS r \
         WHERE r.rolname OPERATOR(pg_catalog.=) ANY (ARRAY[{list}]::pg_catalog.name[])"
    );
    let rows = session.rows(&sql).await?;
    Ok(rows
        .iter()
        .filter_map(|r| Some((r.try_get("name").ok()?, u32::try_from(r.try_get::<i64, _>("oid").ok()?).ok()?)))
        .collect())
}

/// Law 3: a lease whose mint was never answered ends only when nothing can still create its account. We look while we hold
/// the lock that its mint takes first, so none is under way; and past its deadline none can begin.
async fn never_to_be(target: &Target, session: &mut Session, item: &mut Item) -> Result<(), EngineError> {
    if item.body.guard_database == session.facts().database {
        return locked_look(target, session, item).await;
    }
    if !database_exists(session, &item.body.guard_database).await? {
        // Nobody can have a session there, so nobody can hold the lock or wait for it.
        return look_once(session, item, false).await;
    }
    let mut there = target.sessions.in_database(&item.body.guard_database, target.call_limit()).await?;
    locked_look(target, &mut there, item).await
}

async fn locked_look(target: &Target, session: &mut Session, item: &mut Item) -> Result<(), EngineError> {
    for _ in 0..ATTEMPTS {
        match look_once(session, item, true).await {
            Err(EngineError::Retry { after: None, .. }) => end_lock_holders(target, session, item).await?,
            done => return done,
        }
    }
    Err(EngineError::retry(format!("{}: somebody keeps taking the lock of its mint", item.name)))
}

/// One look. `Ok`: either `present` is set, or the account can never come to be and the outcome is set.
async fn look_once(session: &mut Session, item: &mut Item, locked: bool) -> Result<(), EngineError> {
    let (name, deadline) = (quote_literal(&item.name)?, quote_literal(&item.mint_deadline.to_string())?);
    let lock = if locked {
        format!(
            "SELECT pg_catalog.set_config('lock_timeout', '1000', true);\
             SELECT pg_catalog.pg_advisory_xact_lock({}::pg_catalog.int8);",
            item.lock_key
        )
    } else {
        String::new()
    };
    let sql = format!(
        "{lock}SELECT (SELECT r.oid::pg_catalog.int8 FROM pg_catalog.pg_roles AS r \
         WHERE r.rolname OPERATOR(pg_catalog.=) {name}::pg_catalog.name) AS oid, \
         pg_catalog.ceil(1000.0::pg_catalog.float8 OPERATOR(pg_catalog.*) pg_catalog.date_part('epoch', {deadline}::pg_catalog.timestamptz \
         OPERATOR(pg_catalog.-) pg_catalog.clock_timestamp()))::pg_catalog.int8 AS left_ms"
    );
    let rows = session.rows(&sql).await.map_err(|e| e.repeatable(&item.name))?;
    let row = rows.last().ok_or_else(|| EngineError::retry(format!("{}: the look gave no row", item.name)))?;
    let read = |e: sqlx::Error| EngineError::retry(format!("{}: {e}", item.name));
    let oid: Option<i64> = row.try_get("oid").map_err(read)?;
    let left: i64 = row.try_get("left_ms").map_err(read)?;
    if let Some(oid) = oid {
        item.present = u32::try_from(oid).ok();
        return Ok(());
    }
    if left <= 0 {
        item.outcome = Some(Ok(()));
        return Ok(());
    }
    let after = Duration::from_millis(left.unsigned_abs());
    let why = format!("{} is not there, but its mint may still make it for another {after:?}", item.name);
    Err(EngineError::Retry { why: Reason::new(why), after: Some(after) })
}

/// Ends whoever holds or awaits the lock: a mint that stalled, or an account that took it to keep another alive.
async fn end_lock_holders(target: &Target, session: &mut Session, item: &Item) -> Result<(), EngineError> {
    let sql = target.statements.unlock(item.lock_key);
    session.run(&sql).await.map_err(|e| e.repeatable(format!("{}: ending who holds the lock of its mint", item.name)))
}

async fn database_exists(session: &mut Session, name: &str) -> Result<bool, EngineError> {
    let sql = format!(
        "SELECT 1 AS there FROM pg_catalog.pg_database AS d WHERE d.datname OPERATOR(pg_catalog.=) {}::pg_catalog.name",
        quote_literal(name)?
    );
    Ok(!session.rows(&sql).await.map_err(|e| e.repeatable("looking for a database"))?.is_empty())
}
