//! When the server has no room left: no lock for a statement, no place for a connection. The accounts that are to end may be
//! the reason, and the session of last resort can end theirs.

use std::time::Duration;

use leasehold_sdk::{EngineError, RevokeOrder};
use tokio::time::{Instant, sleep};

use super::{Item, sessions};
use crate::engine::Target;
use crate::mint::own_name;
use crate::plan::OidReceipt;
use crate::session::Session;
use crate::statements::Whose;

/// How long we try. Whoever is told to end does so within milliseconds, but may come back until it is fenced.
const TRIES_MAX: Duration = Duration::from_secs(3);
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// A session to end accounts with. Where none can be had, the sessions of those accounts are ended first.
pub(super) async fn session(target: &Target, orders: &[RevokeOrder]) -> Result<Session, EngineError> {
    let until = Instant::now() + TRIES_MAX;
    loop {
        let e = match target.ending_session().await {
            Ok(session) => return Ok(session),
            Err(e) => e,
        };
        if Instant::now() >= until || !end_sessions(target, orders).await {
            return Err(e);
        }
        sleep(PAUSE).await;
    }
}

/// By the session of last resort; whether it could.
async fn end_sessions(target: &Target, orders: &[RevokeOrder]) -> bool {
    let Some(here) = orders.first().map(|o| &o.plan.fingerprint) else { return false };
    let of_here = || orders.iter().filter(|o| o.plan.fingerprint == *here);
    let names: Vec<String> = of_here().filter_map(|o| own_name(&o.plan.account, &target.cluster).ok()).collect();
    let gone = of_here().filter_map(|o| OidReceipt::of(o.receipt.as_ref())).map(|r| r.oid).collect();
    let whose = Whose { names: names.iter().map(String::as_str).collect(), gone };
    match target.statements.terminate(&whose) {
        Ok(sql) => target.last_resort.rows(here, sql).await.is_ok(),
        Err(_) => false,
    }
}

/// Sees whether statements have room, and ends the sessions of the accounts until they do.
pub(super) async fn make(target: &Target, session: &mut Session, items: &[Item]) {
    let until = Instant::now() + TRIES_MAX;
    // As much as our first statements need.
    let probe = "SELECT 1 FROM pg_catalog.pg_roles AS r, pg_catalog.pg_auth_members AS m \
                 WHERE r.oid OPERATOR(pg_catalog.=) 0::pg_catalog.oid AND m.member OPERATOR(pg_catalog.=) r.oid";
    while matches!(session.run(probe).await, Err(e) if e.is_out_of_room()) && Instant::now() < until {
        let _ = sessions::terminate(target, session, items).await;
        sleep(PAUSE).await;
    }
}
