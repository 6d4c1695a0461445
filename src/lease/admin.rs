//! An operator's deeds on the broker as a whole: reconcile now, adopt what a lost store forgot, forget a target.

use std::sync::Arc;
use std::time::Duration;

use leasehold_sdk::LeaseId;

use super::authorize::Deed;
use super::reconciler::Orders;
use super::{Broker, Failure, Forgotten, ReconcileAsk, ReconcileReport, RequestId};
use crate::audit::Event;
use crate::domain::caller::Caller;
use crate::domain::grant::Action;
use crate::domain::lease::{Lease, State};
use crate::engine::TargetHandle;
use crate::store::{Filter, NewLease, Outcome, Settled, StoreError};

/// Leases closed in one step when a target is forgotten.
const CLOSE_AT_ONCE: usize = 500;

/// An adopted account's owner cannot renew it, so it lives as long as any credential of its target may.
const ADOPTED_LIFE_MIN: Duration = Duration::from_secs(3600);

impl Broker {
    /// Runs a pass of the reconciler now and answers what it found.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn reconcile(
        self: &Arc<Self>,
        caller: &Caller,
        request: &RequestId,
        ask: ReconcileAsk,
    ) -> Result<ReconcileReport, Failure> {
        let (this, caller, request) = (self.clone(), caller.clone(), request.clone());
        self.to_the_end(async move { this.reconcile_to_the_end(&caller, &request, ask).await }).await
    }

    async fn reconcile_to_the_end(
        &self,
        caller: &Caller,
        request: &RequestId,
        ask: ReconcileAsk,
    ) -> Result<ReconcileReport, Failure> {
        let current = self.current();
        let permit = self.authorize_end(&current.config.rules, caller, request, Deed::on_broker(Action::Admin)).await?;
        let targets: Vec<Arc<TargetHandle>> = match &ask.target {
            Some(name) => vec![current.engines.get(name).ok_or(Failure::NotFound)?.clone()],
            None => current.engines.iter().cloned().collect(),
        };
        let orders = Orders { dry_run: ask.dry_run, strays: ask.strays };
        // At once: one that is slow delays no other.
        let passes = targets.iter().map(|target| self.reconcile_target(target, orders));
        let report = ReconcileReport { targets: futures_util::future::join_all(passes).await, taken: None };
        let detail = serde_json::json!({
            "target": ask.target, "dry_run": ask.dry_run, "strays": ask.strays.map(|s| format!("{s:?}").to_lowercase()),
        });
        let decision_id = permit.decision_id;
        self.keep_for_audit(&Event::Operation { operation: "reconcile".into(), decision_id, detail }).await?;
        Ok(report)
    }

    /// Closes the leases of a target that is gone for good, without ending them there.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn forget_target(
        self: &Arc<Self>,
        caller: &Caller,
        request: &RequestId,
        target: &str,
    ) -> Result<Forgotten, Failure> {
        let (this, caller, request, target) = (self.clone(), caller.clone(), request.clone(), target.to_owned());
        self.to_the_end(async move { this.forget_to_the_end(&caller, &request, &target).await }).await
    }

    async fn forget_to_the_end(
        &self,
        caller: &Caller,
        request: &RequestId,
        target: &str,
    ) -> Result<Forgotten, Failure> {
        let current = self.current();
        let permit = self.authorize(&current.config.rules, caller, request, Deed::on_broker(Action::Admin)).await?;
        let in_config = current.engines.get(target);
        if in_config.is_some_and(|t| !t.retired) {
            return Err(Failure::Bad {
                what: format!("target {target:?}"),
                why: "it is in service; set retired = true first, so that nothing is minted in it meanwhile".into(),
            });
        }
        let filter = Filter { target: Some(target.to_owned()), ..Filter::default() };
        if in_config.is_none() && self.store.count_live(&filter).await? == 0 {
            return Err(Failure::NotFound);
        }
        let closed = self.close_all(target).await?;
        let detail = serde_json::json!({ "target": target, "closed": closed });
        self.record_operation("target_forget", permit.decision_id, detail).await?;
        Ok(Forgotten { closed })
    }

    /// Step by step, so that no mint of another target waits for long.
    async fn close_all(&self, target: &str) -> Result<u64, StoreError> {
        let now = self.clock.now();
        let mut closed = 0;
        let mut after = None;
        loop {
            let lives = self.store.live_of_target(target, after, CLOSE_AT_ONCE).await?;
            let Some(last) = lives.last() else { break };
            after = Some(last.id);
            closed += lives.len() as u64;
            let forgotten = lives.into_iter().map(|live| Settled { id: live.id, outcome: Outcome::Forgotten });
            self.store.settle(forgotten.collect(), now).await?;
            self.changes.outbox.notify_one();
        }
        Ok(closed)
    }

    /// Takes up an account that a lost store had recorded: law 3, it must end.
    pub(super) async fn adopt(&self, target: &TargetHandle, id: LeaseId) -> Result<(), StoreError> {
        let fingerprint = target.fingerprint().await.map_err(|e| StoreError::Unavailable(e.to_string()))?;
        let current = self.current();
        let roles = current.config.rules.roles.values().filter(|r| r.target == target.name);
        let life = roles.map(|r| r.lifetimes.max_ttl()).max().unwrap_or_default().max(ADOPTED_LIFE_MIN);
        let plan = target.engine().plan_for_stray(&self.account(id), &fingerprint);
        let now = self.clock.now();
        let lease = Lease {
            id,
            role: "adopted".to_owned(),
            target: target.name.clone(),
            identity: self.own_id.clone(),
            state: State::Active,
            ended_by: None,
            issued_at: now,
            expires_at: now.plus(life),
            max_expires_at: now.plus(life),
            rotate_at: now.plus(life),
            renewable: false,
            revocable: plan.revocable,
            worst_case_until: None,
            account: plan.account.clone(),
            attempts: 0,
            last_error: None,
        };
        self.store.adopt(NewLease { lease, plan, mint_deadline: now, live_max: u64::MAX, replaces: None }).await
    }

    async fn record_operation(
        &self,
        operation: &str,
        decision_id: String,
        detail: serde_json::Value,
    ) -> Result<(), Failure> {
        let event = Event::Operation { operation: operation.to_owned(), decision_id, detail };
        self.audit.write(event).await.map_err(Failure::from)
    }
}
