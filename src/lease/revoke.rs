//! Ending leases: one, or many in one durable order.

use std::sync::Arc;
use std::time::Duration;

use leasehold_sdk::LeaseId;

use super::authorize::{Deed, Permit, new_decision_id, no_params};
use super::{Broker, Failure, ManyAsk, Matching, OrderTaken, RequestId};
use crate::audit::Event;
use crate::domain::caller::Caller;
use crate::domain::grant::Action;
use crate::domain::lease::{EndedBy, Lease, State};
use crate::store::{Filter, StoreError};

/// How long a revocation waits for the lease to be dead before it answers "being ended".
const WAIT_FOR_DEAD: Duration = Duration::from_secs(5);

impl Broker {
    /// Ends one lease: the caller's own, or another's with a `revoke` grant on its role. Answers it as it stands after a
    /// short wait: dead, or still `revoking`.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn revoke(self: &Arc<Self>, caller: &Caller, request: &RequestId, id: LeaseId) -> Result<Lease, Failure> {
        let lease = self.store.get(id).await?.ok_or(Failure::NotFound)?.lease;
        let own = lease.identity == caller.id;
        // Nothing is decided and nothing done: no line of the audit log, however often it is asked for.
        if own && !lease.state.is_live() {
            return Ok(lease);
        }
        let rules = self.current().config.rules.clone();
        let deed = Deed {
            action: Action::Revoke,
            role: Some(&lease.role),
            lease: Some(id),
            params: no_params(),
            dangerous: Vec::new(),
            own,
        };
        if !own && !self.may_see(&rules, caller, &lease) {
            return Err(Failure::NotFound);
        }
        let mut news = self.changes.listen();
        // One's own that is being ended already needs no second order: however often it is asked for, neither the outbox
        // grows nor is a target asked sooner than its backoff says.
        if own && lease.state == State::Revoking {
            return self.wait_until(&mut news, id, WAIT_FOR_DEAD, |l| !l.state.is_live()).await;
        }
        self.authorize_end(&rules, caller, request, deed).await?;
        if lease.state.is_live() {
            self.end_now(id, if own { EndedBy::Caller } else { EndedBy::Operator }).await?;
        }
        self.wait_until(&mut news, id, WAIT_FOR_DEAD, |l| !l.state.is_live()).await
    }

    /// Makes a lease `revoking` and due, and wakes its reaper.
    pub(super) async fn end_now(&self, id: LeaseId, by: EndedBy) -> Result<(), StoreError> {
        if let Some(row) = self.store.end(id, by, self.clock.now()).await? {
            self.changes.tell(id);
            self.changes.outbox.notify_one();
            self.changes.bell(&row.lease.target).notify_waiters();
        }
        Ok(())
    }

    /// Ends many in one durable order.
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
        self.to_the_end(async move { this.revoke_many_to_the_end(&caller, &request, ask).await }).await
    }

    async fn revoke_many_to_the_end(
        &self,
        caller: &Caller,
        request: &RequestId,
        ask: ManyAsk,
    ) -> Result<OrderTaken, Failure> {
        let current = self.current();
        let mut deed = match &ask.matching {
            Matching::Role(role) => Deed::on_role(Action::Revoke, role, no_params()),
            Matching::Identity(_) | Matching::Target(_) | Matching::All => Deed::on_broker(Action::Revoke),
        };
        // All of one's own, as each of one's own.
        deed.own = matches!(&ask.matching, Matching::Identity(id) if *id == caller.id);
        let by = if deed.own { EndedBy::Caller } else { EndedBy::Operator };
        let Permit { decision_id } = self.authorize_end(&current.config.rules, caller, request, deed).await?;
        let filter = filter_of(&ask.matching);
        let matched = self.store.count_live(&filter).await?;
        if ask.dry_run {
            return Ok(OrderTaken { order: None, matched });
        }
        expected(matched, ask.expect, current.config.limits.bulk_revoke_unexpected_max)?;
        let order = new_decision_id().replace("d-", "o-");
        let detail =
            serde_json::json!({ "order": order, "matching": format!("{:?}", ask.matching), "matched": matched });
        self.keep_for_audit(&Event::Operation { operation: "revoke_many".into(), decision_id, detail }).await?;
        let ended = self.store.end_matching(&filter, by, self.clock.now()).await?;
        self.changes.outbox.notify_one();
        self.changes.ring_all();
        Ok(OrderTaken { order: Some(order), matched: ended })
    }
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
