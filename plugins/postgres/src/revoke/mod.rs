//! Ending accounts, in the order that the measurements demand: stop new logins and commit, end the sessions and see them
//! gone, roll back prepared transactions, hand over what is owned, drop, and sweep once more by OID.
//!
//! What most accounts need is done for the whole batch; whoever has belongings or resists is taken alone, so that one
//! account that cannot be ended delays no other.

mod active;
mod belongings;
mod drop;
mod fence;
mod look;
mod many;
mod prepared;
mod press;
mod quiet;
mod replicas;
mod room;
mod sessions;

use std::collections::HashSet;
use std::time::Duration;

use leasehold_sdk::{EngineError, RevokeOrder, Timestamp, failpoint, random};
use tokio::time::Instant;

use crate::config::Admin;
use crate::engine::Target;
use crate::mint::own_name;
use crate::plan::{OidReceipt, PlanBody};
use crate::quote::{Ident, quote_ident};
use crate::session::Session;
use crate::sql_error::SqlError;
use crate::statements::Whose;

pub(crate) use active::active_sql;
pub(crate) use many::{granted_sql, owned_sql};

/// How long one call goes on taking up accounts one by one. What is not reached then is for the next round.
const ROUND_MAX: Duration = Duration::from_secs(20);
/// Accounts in one message of a superuser or of functions.
const CHUNK: usize = 200;
/// And of a login that is no superuser: from PostgreSQL 16 on each of its statements walks all its memberships, so that
/// with thousands of accounts alive a longer message would not be done in time.
const CHUNK_SLOW: usize = 20;

/// One account on its way out.
struct Item {
    name: String,
    ident: Ident,
    body: PlanBody,
    /// The OID that was heard when it was made.
    receipt: Option<u32>,
    mint_deadline: Timestamp,
    lock_key: i64,
    /// The OID that its name has now.
    present: Option<u32>,
    /// What came of it; `None` while it is under way.
    outcome: Option<Result<(), EngineError>>,
}

impl Item {
    fn new(target: &Target, session: &Session, order: &RevokeOrder) -> Result<Self, EngineError> {
        let name = own_name(&order.plan.account, &target.cluster)?;
        if order.plan.fingerprint != session.facts().fingerprint {
            return Err(target.foreign(&order.plan, &session.facts().fingerprint));
        }
        Ok(Self {
            ident: quote_ident(&name)?,
            name,
            body: PlanBody::of(&order.plan)?,
            receipt: OidReceipt::of(order.receipt.as_ref()).map(|r| r.oid),
            mint_deadline: order.mint_deadline,
            lock_key: order.plan.account.lease().lock_key(),
            present: None,
            outcome: None,
        })
    }

    fn under_way(&self) -> bool {
        self.outcome.is_none()
    }

    fn fail(&mut self, e: EngineError) {
        self.outcome.get_or_insert(Err(e));
    }

    /// Every OID under which sessions of this account may run.
    fn oids(&self) -> impl Iterator<Item = u32> {
        self.receipt.into_iter().chain(self.present.filter(|p| Some(*p) != self.receipt))
    }
}

impl<'a> Whose<'a> {
    /// Of these accounts.
    fn of(items: impl IntoIterator<Item = &'a Item>) -> Self {
        let mut whose = Self { names: Vec::new(), gone: Vec::new() };
        for item in items {
            whose.names.push(&item.name);
            whose.gone.extend(item.oids());
        }
        whose
    }
}

/// Ends what the orders say; one answer each.
pub(crate) async fn revoke(target: &Target, orders: &[RevokeOrder]) -> Vec<Result<(), EngineError>> {
    let mut session = match room::session(target, orders).await {
        Ok(s) => s,
        Err(e) => return orders.iter().map(|_| Err(e.clone())).collect(),
    };
    let made: Vec<_> = orders.iter().map(|o| Item::new(target, &session, o)).collect();
    let mut refused: Vec<Option<EngineError>> = made.iter().map(|m| m.as_ref().err().cloned()).collect();
    let mut items: Vec<Item> = made.into_iter().flatten().collect();

    end_all(target, &mut session, &mut items).await;

    let mut ended = items.into_iter().map(|i| i.outcome.unwrap_or_else(|| Err(EngineError::retry("not reached"))));
    refused
        .iter_mut()
        .map(|r| match r.take() {
            Some(e) => Err(e),
            None => ended.next().unwrap_or_else(|| Err(EngineError::retry("not reached"))),
        })
        .collect()
}

/// One call's bounds.
#[derive(Clone, Copy)]
struct Round {
    until: Instant,
    chunk: usize,
}

impl Round {
    fn new(target: &Target, session: &Session) -> Self {
        let fast = session.facts().superuser || target.config.admin != Admin::Createrole;
        Self { until: Instant::now() + ROUND_MAX, chunk: if fast { CHUNK } else { CHUNK_SLOW } }
    }

    /// Whether there is time for one more; else the item is told to come again.
    fn has_time_for(&self, item: &mut Item) -> bool {
        let in_time = Instant::now() < self.until;
        if !in_time {
            item.fail(EngineError::retry(format!("{}: others took all the time of this round", item.name)));
        }
        in_time
    }
}

async fn end_all(target: &Target, session: &mut Session, items: &mut [Item]) {
    let round = Round::new(target, session);
    look::look(target, session, items).await;
    fence::fence(target, session, items, round).await;
    failpoint::hit("revoke.fenced");
    let quiet = quiet::look(session, items).await;
    if quiet.is_none() {
        sessions::end(target, session, items).await;
    }
    replicas::end(target, session, items).await;
    failpoint::hit("revoke.sessions_gone");
    let alone = alone(session, items, quiet).await;

    let (mut simple, mut slow): (Vec<_>, Vec<_>) = items.iter_mut().enumerate().partition(|(i, _)| !alone.contains(i));
    let mut simple: Vec<&mut Item> = simple.drain(..).map(|(_, i)| i).collect();
    drop::drop(target, session, &mut simple, round).await;
    failpoint::hit("revoke.dropped");
    replicas::sweep(target, session, &mut simple).await;
    sessions::sweep(target, session, &mut simple).await;

    // Not always in the same order: whoever takes all the time must not starve the same others each round.
    let start = (random::fraction() * slow.len() as f64) as usize % slow.len().max(1);
    slow.rotate_left(start);
    for (_, item) in slow {
        if item.under_way() && round.has_time_for(item) {
            end_alone(target, session, item, round).await;
        }
    }
}

/// Which items own something, have prepared transactions or statements of their own. `known`: who holds something, where
/// that was heard already.
async fn alone(session: &mut Session, items: &mut [Item], known: Option<HashSet<u32>>) -> Vec<usize> {
    let mut alone: Vec<usize> = Vec::new();
    let asked = match known {
        Some(with) => Ok(with),
        None => belongings::holders(session, &present_oids(items)).await,
    };
    let with = match asked {
        Ok(with) => with,
        Err(e) => {
            fail_all(items, &e);
            return alone;
        }
    };
    for (index, item) in items.iter().enumerate().filter(|(_, i)| i.under_way()) {
        let own = item.present.is_some_and(|oid| with.contains(&oid));
        if own || !item.body.revocation_statements.is_empty() {
            alone.push(index);
        }
    }
    alone
}

/// The OIDs that the names of those under way have now.
fn present_oids(items: &[Item]) -> Vec<u32> {
    items.iter().filter(|i| i.under_way()).filter_map(|i| i.present).collect()
}

async fn end_alone(target: &Target, session: &mut Session, item: &mut Item, round: Round) {
    let done = async {
        prepared::roll_back(target, session, item).await?;
        belongings::own_statements(session, item).await?;
        belongings::hand_over(target, session, item, round.until).await
    };
    if let Err(e) = done.await {
        return item.fail(e);
    }
    failpoint::hit("revoke.handed_over");
    let mut one = [item];
    drop::drop(target, session, &mut one, round).await;
    replicas::sweep(target, session, &mut one).await;
    sessions::sweep(target, session, &mut one).await;
}

fn fail_all(items: &mut [Item], e: &SqlError) {
    for item in items.iter_mut().filter(|i| i.under_way()) {
        item.fail(e.clone().repeatable(&item.name));
    }
}
