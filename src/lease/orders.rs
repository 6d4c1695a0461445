//! Ending many leases: an order is durable at once and carried out step by step, on whichever broker comes first. A crash
//! between two steps loses nothing, and no mint waits for more than one of them.

use std::sync::Arc;
use std::time::Duration;

use leasehold_sdk::{LeaseId, clock, failpoint};
use tokio::sync::watch;

use super::authorize::{Deed, Permit, new_decision_id, no_params};
use super::cut::CutAsk;
use super::{Broker, Failure, ManyAsk, Matching, OrderTaken, RequestId};
use crate::audit::Event;
use crate::domain::caller::Caller;
use crate::domain::grant::Action;
use crate::domain::lease::EndedBy;
use crate::store::{Filter, NewOrder, Order, StoreError};

/// Longest sleep: orders that another broker took, and died, ring no bell here.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The loop that carries out orders; ends when the broker stops. What is left then is taken up by the next start, or by
/// another broker.
pub(super) async fn run(broker: Arc<Broker>, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        // Listening starts before looking, so that a bell between the two is heard.
        let rung = broker.changes.orders.notified();
        let pause = match broker.carry_on().await {
            Ok(None) => LOOK_AGAIN,
            // Half of the store's time is left to everybody else.
            Ok(Some(took)) => took,
            Err(e) => {
                tracing::warn!(error = %e, "an order to end leases waits for the store; it is tried again");
                LOOK_AGAIN
            }
        };
        tokio::select! {
            () = rung => {}
            () = tokio::time::sleep(pause) => {}
            _ = stop.changed() => {}
        }
    }
}

impl Broker {
    /// Ends many in one durable order, or counts them.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn revoke_many(
        self: &Arc<Self>,
        caller: &Caller,
        request: &RequestId,
        ask: ManyAsk,
    ) -> Result<OrderTaken, Failure> {
        let (this, caller, request) = (self.clone(), caller.clone(), request.clone());
        self.to_the_end(async move {
            match ask {
                ManyAsk { cut: true, matching: Matching::Role(role), dry_run, expect } => {
                    this.cut(&caller, &request, CutAsk { role, dry_run, expect }).await
                }
                ManyAsk { cut: true, .. } => {
                    Err(Failure::Bad { what: "cut".into(), why: "needs role, and nothing else".into() })
                }
                ask => this.revoke_many_to_the_end(&caller, &request, ask).await,
            }
        })
        .await
    }

    async fn revoke_many_to_the_end(
        &self,
        caller: &Caller,
        request: &RequestId,
        ask: ManyAsk,
    ) -> Result<OrderTaken, Failure> {
        let current = self.current();
        let filter = filter_of(&ask.matching);
        let deed = deed_on(Action::Revoke, &filter, caller);
        let by = if deed.own { EndedBy::Caller } else { EndedBy::Operator };
        if !ask.dry_run {
            self.rates.order(caller.id.as_str())?;
        }
        let Permit { decision_id, .. } = self.authorize_end(&current.config.rules, caller, request, deed).await?;
        let matched = self.store.count_live(&filter).await?;
        if ask.dry_run {
            return Ok(OrderTaken { order: None, matched, leases: None });
        }
        expected(matched, ask.expect, current.config.limits.bulk_revoke_unexpected_max)?;
        let now = self.clock.now();
        let id = new_decision_id().replace("d-", "o-");
        let detail = serde_json::json!({ "order": id, "matching": format!("{:?}", ask.matching), "matched": matched });
        self.keep_for_audit(&Event::Operation { operation: "revoke_many".into(), decision_id, detail }).await?;
        // Whatever is on record by now is meant, whichever broker's clock its id is from.
        let up_to = self.store.newest_lease().await?.unwrap_or_else(|| LeaseId::at(now));
        let order = NewOrder { id, at: now, by, filter, up_to };
        let matched = self.store.place_order(&order).await?;
        failpoint::hit("order.placed");
        self.changes.orders.notify_one();
        Ok(OrderTaken { order: Some(order.id), matched, leases: None })
    }

    /// How far an order has come, for whoever might give it or may see what it ends.
    ///
    /// # Errors
    /// [`Failure::NotFound`] for others, too; see [`Failure`].
    pub async fn order(&self, caller: &Caller, request: &RequestId, id: &str) -> Result<Order, Failure> {
        let order = self.store.order(id).await?.ok_or(Failure::NotFound)?;
        let rules = self.current().config.rules.clone();
        let allowed_by = [Action::Read, Action::Revoke]
            .map(|action| deed_on(action, &order.order.filter, caller))
            .into_iter()
            .find(|deed| self.would(&rules, caller, deed).allowed());
        let deed = allowed_by.ok_or(Failure::NotFound)?;
        if !deed.own {
            self.authorize_looking(&rules, caller, request, deed).await?;
        }
        Ok(order)
    }

    /// Takes the next step of an order, if there is one: answers how long that took.
    async fn carry_on(&self) -> Result<Option<Duration>, StoreError> {
        if self.unfit().is_some() {
            return Ok(None);
        }
        let step_max = self.current().config.limits.order_step_leases_max;
        let started = clock::boot();
        let step_max = usize::try_from(step_max).unwrap_or(usize::MAX);
        let Some(step) = self.store.carry_on(self.clock.now(), step_max).await? else { return Ok(None) };
        failpoint::hit("order.step");
        self.changes.outbox.notify_one();
        self.changes.ring_all();
        if step.finished {
            tracing::info!(order = %step.order, "all leases of the order are being ended");
        }
        Ok(Some(clock::boot() - started))
    }
}

/// What giving an order, or looking at one, takes: nothing for all of one's own, as for each of one's own.
fn deed_on<'a>(action: Action, filter: &'a Filter, caller: &Caller) -> Deed<'a> {
    let mut deed = match &filter.role {
        Some(role) => Deed::on_role(action, role, no_params()),
        None => Deed::on_broker(action),
    };
    deed.own = caller.break_glass().is_none() && filter.identity.as_deref() == Some(caller.id.as_str());
    deed
}

fn filter_of(matching: &Matching) -> Filter {
    let mut filter = Filter::default();
    match matching {
        Matching::Identity(id) => filter.identity = Some(id.to_string()),
        Matching::Role(role) => filter.role = Some(role.clone()),
        Matching::Target(target) => filter.target = Some(target.clone()),
        Matching::All => {}
    }
    filter
}

/// A large order must say how many it expects, from a dry run: a slip of the pen must not end a whole fleet.
fn expected(matched: u64, expect: Option<u64>, unexpected_max: u64) -> Result<(), Failure> {
    match expect {
        Some(n) if n == matched => Ok(()),
        Some(n) => Err(Failure::NotAsExpected { matched, why: format!("{n} were expected; run a dry run again") }),
        None if matched <= unexpected_max => Ok(()),
        None => Err(Failure::NotAsExpected {
            matched,
            why: format!(
                "more than bulk_revoke_unexpected_max = {unexpected_max}: say \"expect\" with the number of a dry run"
            ),
        }),
    }
}
