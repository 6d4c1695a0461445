//! The fence: no new login, committed before anything else is done. Measured: terminate before the fence is committed, and
//! an account that keeps connecting survives nearly every time.
//!
//! An account can lock its own row, by a session or a prepared transaction of its own or of a friend. So when the fence
//! does not get through, they are ended and it is sent again, until it is committed or the time is over.

use std::time::Duration;

use leasehold_sdk::random;
use tokio::time::Instant;

use super::{Item, Round, prepared, press, sessions};
use crate::engine::Target;
use crate::session::Session;
use crate::sql_error::SqlError;

/// How long one account may resist in one round.
const RESISTS_MAX: Duration = Duration::from_secs(5);
/// How long the fence waits for a row. Whoever holds it longer is ended.
const LOCK_MS: u32 = 500;

/// Fences all that are there; one by one where the batch fails.
pub(super) async fn fence(target: &Target, session: &mut Session, items: &mut [Item], round: Round) {
    let mut there: Vec<&mut Item> = items.iter_mut().filter(|i| i.under_way() && i.present.is_some()).collect();
    for chunk in there.chunks_mut(round.chunk) {
        if send(target, session, chunk).await.is_ok() {
            continue;
        }
        // Mostly it is their own sessions that are in the way, and one look is cheaper than one wait for each.
        let _ = sessions::terminate(target, session, chunk.iter().map(|i| &**i)).await;
        if send(target, session, chunk).await.is_ok() {
            continue;
        }
        // Not always in the same order: those who resist must not starve the same others each round.
        let start = (random::fraction() * chunk.len() as f64) as usize % chunk.len();
        chunk.rotate_left(start);
        for item in chunk {
            if round.has_time_for(item) {
                one(target, session, item, round).await;
            }
        }
    }
}

async fn one(target: &Target, session: &mut Session, item: &mut Item, round: Round) {
    let until = round.until.min(Instant::now() + RESISTS_MAX);
    loop {
        let sent = match sql(target, &[&*item]) {
            Ok(sql) => press::send(target, session, item, &sql).await,
            Err(e) => Err(e),
        };
        let e = match sent {
            Ok(()) => return,
            // Gone since the look.
            Err(e) if e.code() == Some("42704") => {
                item.receipt = item.receipt.or(item.present.take());
                return;
            }
            Err(e) => e,
        };
        if e.is_contention() && Instant::now() < until {
            // Again, for what did not make us wait: a server without room.
            let _ = sessions::terminate(target, session, [&*item]).await;
            // What cannot be rolled back shows in the next try.
            if let Err(why) = prepared::roll_back_in_the_way(target, session, item).await {
                tracing::debug!(account = %item.name, %why, "a prepared transaction may be in the way of its fence");
            }
            continue;
        }
        // The login stays open for now, but what it opened before does not.
        let _ = sessions::terminate(target, session, [&*item]).await;
        return item.fail(e.repeatable(format!("{}: its login cannot be stopped", item.name)));
    }
}

async fn send(target: &Target, session: &mut Session, items: &[&mut Item]) -> Result<(), SqlError> {
    let items: Vec<&Item> = items.iter().map(|i| &**i).collect();
    session.run(&sql(target, &items)?).await
}

fn sql(target: &Target, items: &[&Item]) -> Result<String, SqlError> {
    let accounts: Vec<_> = items.iter().map(|i| (&i.ident, i.name.as_str())).collect();
    let fence = target.statements.fence(&accounts).map_err(|e| SqlError::Lost(e.to_string()))?;
    Ok(format!("SELECT pg_catalog.set_config('lock_timeout', '{LOCK_MS}', true);{fence}"))
}
