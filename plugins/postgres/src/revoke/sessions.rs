//! Open sessions: ended, and seen gone. They are found by the account's name and, once the role is gone, by its OID. An OID
//! from a lease's row is believed only where no role has it: an edited row must not end somebody else's sessions (law 10).

use std::sync::Arc;
use std::time::Duration;

use leasehold_sdk::EngineError;
use sqlx::Row;
use sqlx::postgres::PgRow;
use tokio::time::{Instant, sleep};

use super::Item;
use crate::engine::Target;
use crate::last_resort::LastResort;
use crate::quote::BadText;
use crate::session::Session;
use crate::sql_error::SqlError;
use crate::statements::Whose;

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

/// Tells the sessions of these items to end, whether under way or not, and does not wait for it.
pub(super) async fn terminate<'a>(
    target: &Target,
    session: &mut Session,
    items: impl IntoIterator<Item = &'a Item>,
) -> Result<(), SqlError> {
    let sql = target.statements.terminate(&Whose::of(items)).map_err(|e| SqlError::Lost(e.to_string()))?;
    ask(session, &sql, Some(&target.last_resort)).await.map(drop)
}

async fn end_these(target: &Target, session: &mut Session, items: &mut [&mut Item]) {
    let whose = Whose::of(items.iter().filter(|i| i.under_way()).map(|i| &**i));
    let ended = end_and_wait(target, session, &whose, Some(&target.last_resort)).await;
    let refused = match ended {
        Ok(alive) => {
            for item in items.iter_mut().filter(|i| i.under_way()) {
                if alive.iter().any(|a| a.is_of(item)) {
                    let why = format!("{}: its sessions do not end, {DYING_MAX:?} after they were told to", item.name);
                    item.fail(EngineError::retry(why));
                }
            }
            return;
        }
        Err(e) => e,
    };
    for item in items.iter_mut().filter(|i| i.under_way()) {
        item.fail(if refused.code() == Some("42501") {
            let right = format!("grant our login the role pg_signal_backend: {}", refused.text());
            EngineError::refused(format!("{}: its sessions cannot be ended; {right}", item.name))
        } else {
            refused.clone().repeatable(&item.name)
        });
    }
}

/// Somebody who still has a session.
pub(super) struct Alive {
    /// `None`: the role is gone.
    name: Option<String>,
    oid: u32,
}

impl Alive {
    pub(super) fn is_of(&self, item: &Item) -> bool {
        self.name.as_ref().map_or_else(|| item.oids().any(|oid| oid == self.oid), |name| *name == item.name)
    }
}

/// Tells their sessions to end until none is left, and answers who still has some in the end. `last_resort`: who helps
/// where the server has no room left for our ordinary session.
pub(super) async fn end_and_wait(
    target: &Target,
    session: &mut Session,
    whose: &Whose<'_>,
    last_resort: Option<&Arc<LastResort>>,
) -> Result<Vec<Alive>, SqlError> {
    if whose.is_nobody() {
        return Ok(Vec::new());
    }
    let bad = |e: BadText| SqlError::Lost(e.to_string());
    let terminate = target.statements.terminate(whose).map_err(bad)?;
    let look = look_sql(whose).map_err(bad)?;
    let (until, mut pause) = (Instant::now() + DYING_MAX, PAUSE_FIRST);
    let mut alive = alive(&ask(session, &look, last_resort).await?);
    while !alive.is_empty() && Instant::now() < until {
        // Without a timeout of its own: the form with one waits for each session in turn, in steps of 100 ms.
        ask(session, &terminate, last_resort).await?;
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(64));
        alive = self::alive(&ask(session, &look, last_resort).await?);
    }
    Ok(alive)
}

/// Asks who of them has a session, by `name` and `oid`.
pub(super) fn look_sql(whose: &Whose<'_>) -> Result<String, BadText> {
    Ok(format!(
        "SELECT DISTINCT a.usename::pg_catalog.text AS name, a.usesysid::pg_catalog.int8 AS oid \
         FROM pg_catalog.pg_stat_activity AS a WHERE {}",
        whose.filter()?
    ))
}

fn alive(rows: &[PgRow]) -> Vec<Alive> {
    let read = |r: &PgRow| {
        let oid = u32::try_from(r.try_get::<i64, _>("oid").ok()?).ok()?;
        Some(Alive { name: r.try_get("name").ok()?, oid })
    };
    rows.iter().filter_map(read).collect()
}

/// By the session of last resort where the server has no room left for our ordinary ones.
async fn ask(session: &mut Session, sql: &str, last_resort: Option<&Arc<LastResort>>) -> Result<Vec<PgRow>, SqlError> {
    match (session.rows(sql).await, last_resort) {
        (Err(e), Some(helper)) if e.is_out_of_room() => helper.rows(&session.facts().fingerprint, sql.to_owned()).await,
        (done, _) => done,
    }
}
