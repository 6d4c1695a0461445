//! Statements that an account may stand in the way of: while the server makes us wait, whoever is in the way is ended.
//!
//! A role may change its own password and settings. In a transaction that it leaves open this locks its row, and our
//! `NOLOGIN` would wait for ever. To end its sessions first and then to send the statement is not enough: a new login may
//! come between. Whoever waits for a row, however, is the next to have it.

use std::time::Duration;

use leasehold_sdk::Fingerprint;
use tokio::time::{Instant, sleep};

use super::Item;
use crate::engine::Target;
use crate::session::Session;
use crate::sql_error::SqlError;
use crate::statements::Whose;

/// First pause before we look what keeps the statement. Doubled each time, up to 80 ms.
const PAUSE_FIRST: Duration = Duration::from_millis(5);
/// So long others than the account itself may be in the way: a statement about an account is short, unless it is meant to
/// be long.
const OTHERS_AFTER: Duration = Duration::from_millis(300);

/// Sends a statement about one account, and ends who makes it wait: the account's own sessions at once, a little later also
/// those of others, superusers excepted.
pub(super) async fn send(target: &Target, session: &mut Session, item: &Item, sql: &str) -> Result<(), SqlError> {
    let (waiter, here) = (session.facts().pid, session.facts().fingerprint.clone());
    let work = session.run(sql);
    tokio::pin!(work);
    let (since, mut pause) = (Instant::now(), PAUSE_FIRST);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = sleep(pause) => {}
        }
        let others = since.elapsed() > OTHERS_AFTER;
        // What goes wrong here shows in the statement itself, which then still waits.
        let _ = push_aside(target, &here, item, others.then_some(waiter)).await;
        pause = (pause * 2).min(PAUSE_FIRST * 16);
    }
}

async fn push_aside(target: &Target, here: &Fingerprint, item: &Item, waiter: Option<i32>) -> Result<(), SqlError> {
    let bad = |e: crate::quote::BadText| SqlError::Lost(e.to_string());
    let mut sql = target.statements.terminate(&Whose::of([item])).map_err(bad)?;
    if let Some(waiter) = waiter {
        sql.push_str(&target.statements.evict(&item.name, waiter).map_err(bad)?);
    }
    target.last_resort.rows(here, sql).await.map(drop)
}
