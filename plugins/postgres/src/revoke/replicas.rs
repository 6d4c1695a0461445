//! Replicas. A session on one is its own affair: neither the fence nor the drop ends it, and the drop leaves it alive under
//! an OID that no role has. So after the fence is committed, each replica is waited for until it has replayed it, from when
//! on it takes no new login of the account, and the sessions there are ended, before the account is dropped.

use futures_util::future::join_all;
use leasehold_sdk::{EngineError, Fingerprint};

use super::{Item, sessions};
use crate::engine::Target;
use crate::replica::{Replica, flushed};
use crate::session::Session;
use crate::statements::Whose;

/// Ends the sessions of the items under way on every replica. With one out of reach, no item goes on to its drop.
pub(super) async fn end(target: &Target, session: &mut Session, items: &mut [Item]) {
    if target.replicas.is_empty() || !items.iter().any(Item::under_way) {
        return;
    }
    let mut items: Vec<&mut Item> = items.iter_mut().filter(|i| i.under_way()).collect();
    match flushed(session).await {
        Ok(lsn) => on_all(target, session, &mut items, Some(&lsn)).await,
        Err(e) => items.iter_mut().for_each(|i| i.fail(e.clone())),
    }
}

/// Once more after the drop, as on the primary.
pub(super) async fn sweep(target: &Target, session: &Session, items: &mut [&mut Item]) {
    on_all(target, session, items, None).await;
}

async fn on_all(target: &Target, session: &Session, items: &mut [&mut Item], lsn: Option<&str>) {
    let here = &session.facts().fingerprint;
    let whose = Whose::of(items.iter().filter(|i| i.under_way()).map(|i| &**i));
    if whose.is_nobody() {
        return;
    }
    let asked = target.replicas.iter().map(|replica| on_one(target, replica, here, &whose, lsn));
    let answers = join_all(asked).await;
    drop(whose);
    for (replica, answer) in target.replicas.iter().zip(answers) {
        for item in items.iter_mut().filter(|i| i.under_way()) {
            match &answer {
                Ok(alive) if alive.iter().any(|a| a.is_of(item)) => {
                    item.fail(replica.error(format!("still has sessions of {}, which do not end", item.name)));
                }
                Ok(_) => {}
                Err(e) => item.fail(EngineError::retry(format!("{e}; sessions of {} may live there", item.name))),
            }
        }
    }
}

async fn on_one(
    target: &Target,
    replica: &Replica,
    here: &Fingerprint,
    whose: &Whose<'_>,
    lsn: Option<&str>,
) -> Result<Vec<sessions::Alive>, EngineError> {
    let mut session = replica.session(here, target.call_limit()).await?;
    if let Some(lsn) = lsn {
        replica.replayed(&mut session, lsn).await?;
    }
    let ended = sessions::end_and_wait(target, &mut session, whose, None).await;
    ended.map_err(|e| replica.error(format!("does not let us end sessions: {}", e.text())))
}
