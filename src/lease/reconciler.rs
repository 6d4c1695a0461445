//! The reconciler: what exists in a target is compared with the leases that should be there, and what does not fit is ended,
//! held or told. How it is looked at is in [`super::survey`].

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use leasehold_sdk::{AccountName, LeaseId, RevokeOrder, Timestamp};

use super::survey::{Blind, Survey};
use super::{Broker, StrayOrder, TargetReport};
use crate::audit::Event;
use crate::domain::lease::EndedBy;
use crate::engine::TargetHandle;
use crate::store::StoreError;

/// Between two tries to look at a target that is away.
const AWAY: Duration = Duration::from_secs(5);

/// Strays ended at once.
const BATCH: usize = 100;

/// How a pass treats what it finds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Orders {
    pub dry_run: bool,
    pub strays: Option<StrayOrder>,
}

/// The loop of one target; ends when the broker stops.
pub(super) async fn run(broker: Arc<Broker>, target: Arc<TargetHandle>, mut stop: watch::Receiver<bool>) {
    let mut circuit = target.circuit();
    while !*stop.borrow() {
        let report = broker.reconcile_target(&target, Orders::default()).await;
        if target.admit().is_err() {
            tokio::select! {
                _ = circuit.wait_for(|state| !state.refuses()) => {}
                _ = stop.changed() => {}
            }
            continue;
        }
        if let Some(error) = &report.error {
            tracing::warn!(target_name = %target.name, why = %error, "the target could not be compared with its leases");
        }
        let between = Duration::from_secs(broker.current().config.limits.reconcile_seconds);
        // A target that was away is looked at as soon as it is back.
        let pause = if report.error.is_some() { between.min(AWAY) } else { between };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.changed() => {}
        }
    }
}

impl Broker {
    /// One pass over one target.
    pub(super) async fn reconcile_target(&self, target: &Arc<TargetHandle>, orders: Orders) -> TargetReport {
        let mut report = TargetReport { target: target.name.clone(), ..TargetReport::default() };
        match self.survey_twice(target).await {
            Ok(found) => {
                report.foreign = found.foreign;
                self.surveys.with(&target.name, |known| known.caught_up = true);
                if let Err(e) = self.treat(target, found, orders, &mut report).await {
                    report.error = Some(e.to_string());
                }
            }
            Err(Blind::Target(e)) => report.error = Some(e.to_string()),
            Err(Blind::Store(e)) => report.error = Some(e.to_string()),
        }
        self.metrics.reconciled(&target.name, report.error.is_some(), report.strays.iter().map(|(_, done, _)| *done));
        self.surveys.with(&target.name, |known| known.done.send_replace(true));
        report
    }

    async fn treat(
        &self,
        target: &Arc<TargetHandle>,
        found: Survey,
        orders: Orders,
        report: &mut TargetReport,
    ) -> Result<(), StoreError> {
        let boundary = self.surveys.with(&target.name, |known| known.boundary);
        let (mut newer, mut older) = (Vec::new(), Vec::new());
        for id in found.strays {
            // One that has a row is known, however new: its mint came through after its lease had ended.
            let unheard_of = Some(id) > boundary && self.store.get(id).await?.is_none();
            if unheard_of { newer.push(id) } else { older.push(id) }
        }
        if orders.strays == Some(StrayOrder::Adopt) && !orders.dry_run {
            self.finish(target, found.unfinished, report).await?;
        }
        self.treat_newer(target, newer, orders, report).await?;
        if orders.dry_run {
            report.strays.extend(older.iter().map(|id| (self.account(*id).to_string(), "would_revoke", None)));
            report.vanished.extend(found.vanished);
            return Ok(());
        }
        // While it is open whether the store is the right one, nothing is ended on its word.
        if self.is_held(&target.name) {
            let why = Some("nothing is ended here until an operator decides on the newer accounts".to_owned());
            report.strays.extend(older.iter().map(|id| (self.account(*id).to_string(), "held", why.clone())));
            return Ok(());
        }
        self.end_strays(target, older, report).await;
        for id in found.vanished {
            tracing::warn!(lease = %id, target_name = %target.name, "the account is gone from its target; the lease is ended");
            self.end_now(id, EndedBy::Vanished).await?;
            report.vanished.push(id);
        }
        Ok(())
    }

    /// Strays that are newer than all that the store is trusted to know: proof that it is an older copy of itself.
    async fn treat_newer(
        &self,
        target: &Arc<TargetHandle>,
        newer: Vec<LeaseId>,
        orders: Orders,
        report: &mut TargetReport,
    ) -> Result<(), StoreError> {
        match orders.strays {
            _ if newer.is_empty() && orders.dry_run => Ok(()),
            _ if newer.is_empty() => self.release(target, None).await,
            Some(StrayOrder::Revoke) if !orders.dry_run => {
                let newest = newer.last().copied();
                self.end_strays(target, newer, report).await;
                self.release(target, newest).await
            }
            Some(StrayOrder::Adopt) if !orders.dry_run => {
                let newest = newer.last().copied();
                for id in newer {
                    self.adopt(target, id).await?;
                    self.put_stray_on_record(target, &self.account(id), "adopted", None).await;
                    report.strays.push((self.account(id).to_string(), "adopted", None));
                }
                self.release(target, newest).await
            }
            _ => self.hold(target, newer, report).await,
        }
    }

    /// Nothing is ended in the target any more, across restarts too, until an operator decides.
    async fn hold(
        &self,
        target: &Arc<TargetHandle>,
        newer: Vec<LeaseId>,
        report: &mut TargetReport,
    ) -> Result<(), StoreError> {
        let why = "newer than anything this store has recorded: the store is an older copy of itself. Automatic revocation \
                   in this target is stopped; run `leasehold reconcile --adopt` or `--revoke`";
        let boundary = self.surveys.with(&target.name, |known| known.boundary);
        self.store.hold(&target.name, boundary).await?;
        let is_news = self.surveys.with(&target.name, |known| !std::mem::replace(&mut known.held, true));
        tracing::error!(target_name = %target.name, accounts = newer.len(), "{why}");
        for id in newer {
            if is_news {
                self.put_stray_on_record(target, &self.account(id), "held", Some(why)).await;
            }
            report.strays.push((self.account(id).to_string(), "held", Some(why.to_owned())));
        }
        Ok(())
    }

    /// What an operator has decided on is from now on the store's own past.
    async fn release(&self, target: &Arc<TargetHandle>, decided: Option<LeaseId>) -> Result<(), StoreError> {
        if let Some(newest) = decided {
            self.store.raise_newest_lease(newest).await?;
        }
        if decided.is_some() || self.is_held(&target.name) {
            self.store.release(&target.name).await?;
            self.surveys.with(&target.name, |known| {
                known.held = false;
                known.boundary = known.boundary.max(decided);
            });
            self.changes.bell(&target.name).notify_waiters();
        }
        Ok(())
    }

    async fn end_strays(&self, target: &Arc<TargetHandle>, strays: Vec<LeaseId>, report: &mut TargetReport) {
        if strays.is_empty() {
            return;
        }
        let fingerprint = match target.fingerprint().await {
            Ok(fingerprint) => fingerprint,
            Err(e) => return report.error = Some(e.to_string()),
        };
        for batch in strays.chunks(BATCH) {
            let order = |id: &LeaseId| {
                let plan = target.engine().plan_for_stray(&self.account(*id), &fingerprint);
                // It is there, so nothing that could still make it is waited for.
                RevokeOrder::now(plan, None, Timestamp::from_unix_ms(0))
            };
            let results = target.revoke(batch.iter().map(order).collect()).await;
            for (id, result) in batch.iter().zip(results) {
                let (done, note) = match result {
                    Ok(_) => ("revoked", None),
                    Err(e) => ("failed", Some(e.to_string())),
                };
                self.put_stray_on_record(target, &self.account(*id), done, note.as_deref()).await;
                report.strays.push((self.account(*id).to_string(), done, note));
            }
        }
    }

    /// What was done about an account is on record whether or not the log takes lines now: ending never waits for it (law 2).
    pub(super) async fn put_stray_on_record(
        &self,
        target: &TargetHandle,
        account: &AccountName,
        done: &str,
        note: Option<&str>,
    ) {
        tracing::warn!(target_name = %target.name, account = %account, done, "an account had no live lease here");
        let event = Event::Stray {
            target: target.name.clone(),
            account: account.to_string(),
            done: done.to_owned(),
            note: note.map(str::to_owned),
        };
        if let Err(e) = self.keep_for_audit(&event).await {
            tracing::error!(error = %e, "a stray could not be put on record");
        }
    }

    pub(super) fn account(&self, id: LeaseId) -> AccountName {
        AccountName::new(self.current().config.broker.cluster.clone(), self.store.tag().clone(), id)
    }
}
