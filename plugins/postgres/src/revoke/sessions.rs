//! Open sessions: ended by the role's OID, which finds them even when the role is gone, and seen gone.

use std::collections::HashSet;
use std::time::Duration;

use leasehold_sdk::EngineError;
use sqlx::Row;
use tokio::time::{Instant, sleep};

use super::Item;
use crate::engine::Target;
use crate::session::Session;
use crate::sql_error::SqlError;
use crate::statements::oid_array;

/// How long sessions may take to die. A backend in an uninterruptible system call takes as long as that call.
const DYING_MAX: Duration = Duration::from_secs(5);
/// First pause between two looks; measured, a session is gone after 2 ms at the median. Doubled each time, up to 64 ms.
const PAUSE_FIRST: Duration = Duration::from_millis(2);

/// Ends the sessions of all items under way and waits until they are gone.
pub(super) async fn end(target: &Target, session: &mut Session, items: &mut [Item]) {
    let mut under_way: Vec<&mut Item> = items.iter_mut().filter(|i| i.under_way()).collect();
    end_these(target, session, &mut under_way).await;
}

/// Once more after the drop, for a login that was past its check when the fence was committed; then all is done.
pub(super) async fn sweep(target: &Target, session: &mut Session, items: &mut [&mut Item]) {
    end_these(target, session, items).await;
    for item in items.iter_mut().filter(|i| i.under_way()) {
        item.outcome = Some(Ok(()));
    }
}

async fn end_these(target: &Target, session: &mut Session, items: &mut [&mut Item]) {
    let oids: Vec<u32> = items.iter().filter(|i| i.under_way()).flat_map(|i| i.oids().collect::<Vec<_>>()).collect();
    if oids.is_empty() {
        return;
    }
    match end_oids(target, session, &oids).await {
        Ok(alive) if alive.is_empty() => {}
        Ok(alive) => {
            for item in items.iter_mut().filter(|i| i.under_way()) {
                if item.oids().any(|oid| alive.contains(&oid)) {
                    let why = format!("{}: its sessions do not end, {DYING_MAX:?} after they were told to", item.name);
                    item.fail(EngineError::retry(why));
                }
            }
        }
        Err(e) if e.code() == Some("42501") => {
            let right = format!("grant our login the role pg_signal_backend: {}", e.text());
            for item in items.iter_mut().filter(|i| i.under_way()) {
                item.fail(EngineError::refused(format!("{}: its sessions cannot be ended; {right}", item.name)));
            }
        }
        Err(e) => {
            for item in items.iter_mut().filter(|i| i.under_way()) {
                item.fail(e.clone().repeatable(&item.name));
            }
        }
    }
}

/// Which of these roles still have sessions in the end.
async fn end_oids(target: &Target, session: &mut Session, oids: &[u32]) -> Result<HashSet<u32>, SqlError> {
    let (until, mut pause) = (Instant::now() + DYING_MAX, PAUSE_FIRST);
    let mut alive = alive(session, oids).await?;
    while !alive.is_empty() && Instant::now() < until {
        let living: Vec<u32> = alive.into_iter().collect();
        // Without a timeout of its own: the form with one waits for each session in turn, in steps of 100 ms.
        session.run(&target.statements.terminate(&living)).await?;
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(64));
        alive = self::alive(session, &living).await?;
    }
    Ok(alive)
}

async fn alive(session: &mut Session, oids: &[u32]) -> Result<HashSet<u32>, SqlError> {
    let sql = format!(
        "SELECT DISTINCT a.usesysid::pg_catalog.int8 AS oid FROM pg_catalog.pg_stat_activity AS a \
         WHERE a.usesysid OPERATOR(pg_catalog.=) ANY ({})",
        oid_array(oids)
    );
    let rows = session.rows(&sql).await?;
    Ok(rows.iter().filter_map(|r| u32::try_from(r.try_get::<i64, _>("oid").ok()?).ok()).collect())
}
