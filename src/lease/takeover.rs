//! Ending what another cluster left, whose store is lost for good: the one exception to law 10, ordered by an operator by
//! name and number, and on record account by account.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use leasehold_sdk::{
    AccountName, ClusterName, EngineError, Fingerprint, LeaseId, Listing, Mark, RevokeOrder, StoreTag, Timestamp,
};

use super::authorize::Deed;
use super::{Broker, Failure, ReconcileReport, RequestId, Taken, TakeoverAsk, TargetReport};
use crate::audit::Event;
use crate::domain::caller::Caller;
use crate::domain::grant::Action;
use crate::engine::TargetHandle;

/// Accounts read at once.
const PAGE: usize = 1000;

/// Pages read of one target: one that lists for ever is not believed (law 7).
const PAGES_MAX: usize = 10_000;

/// Accounts ended at once.
const BATCH: usize = 100;

/// What one target holds of the other cluster.
struct Found {
    /// The target, as a broker of that cluster would use it.
    target: Arc<TargetHandle>,
    fingerprint: Fingerprint,
    /// The first of them: as many as one call ends.
    accounts: Vec<AccountName>,
    /// All of them.
    count: u64,
    newest: Option<LeaseId>,
}

impl Broker {
    /// Looks for what another cluster left in the targets, or ends it.
    ///
    /// # Errors
    /// [`Failure::Bad`] for the broker's own accounts, [`Failure::StillAlive`] for a cluster that has made an account lately,
    /// [`Failure::NotAsExpected`] unless the number of a dry run is given; else see [`Failure`].
    pub async fn take_over(
        self: &Arc<Self>,
        caller: &Caller,
        request: &RequestId,
        ask: TakeoverAsk,
    ) -> Result<ReconcileReport, Failure> {
        let (this, caller, request) = (self.clone(), caller.clone(), request.clone());
        self.to_the_end(async move { this.take_over_to_the_end(&caller, &request, ask).await }).await
    }

    async fn take_over_to_the_end(
        &self,
        caller: &Caller,
        request: &RequestId,
        ask: TakeoverAsk,
    ) -> Result<ReconcileReport, Failure> {
        let current = self.current();
        let permit = self.authorize_end(&current.config.rules, caller, request, Deed::on_broker(Action::Admin)).await?;
        self.is_anothers(&ask.cluster, ask.tag.as_ref())?;
        let targets: Vec<Arc<TargetHandle>> = match &ask.target {
            Some(name) => vec![current.engines.get(name).ok_or(Failure::NotFound)?.clone()],
            None => current.engines.iter().cloned().collect(),
        };
        let mut report = ReconcileReport::default();
        let mut found = Vec::new();
        let mut servers = HashSet::new();
        for target in targets {
            match self.left_in(&target, &ask, &mut servers).await {
                Ok(Some(left)) => found.push(left),
                Ok(None) => {
                    report.targets.push(TargetReport { target: target.name.clone(), ..TargetReport::default() })
                }
                Err(e) => report.targets.push(TargetReport {
                    target: target.name.clone(),
                    error: Some(e.to_string()),
                    ..TargetReport::default()
                }),
            }
        }
        let matched = found.iter().map(|f| f.count).sum();
        if ask.dry_run {
            report.targets.extend(found.iter().map(told));
            report.taken = Some(Taken { matched, left: matched });
            return Ok(report);
        }
        self.is_quiet(&ask.cluster, &found)?;
        as_expected(matched, ask.expect)?;
        let detail = serde_json::json!({
            "cluster": ask.cluster.as_str(), "tag": ask.tag.as_ref().map(StoreTag::as_str), "target": ask.target,
            "matched": matched,
        });
        let decision_id = permit.decision_id;
        self.keep_for_audit(&Event::Operation { operation: "takeover".into(), decision_id, detail }).await?;
        let mut ended = 0;
        for left in found {
            let done = self.end_what_is_left(left).await?;
            ended += done.strays.iter().filter(|(_, done, _)| *done == "taken_over").count() as u64;
            report.targets.push(done);
        }
        report.taken = Some(Taken { matched, left: matched.saturating_sub(ended) });
        Ok(report)
    }

    /// Of the own cluster only what another store has made, and that must be named: a slip of the pen must not end everything.
    fn is_anothers(&self, cluster: &ClusterName, tag: Option<&StoreTag>) -> Result<(), Failure> {
        let own = *cluster == self.current().config.broker.cluster;
        let why = match tag {
            Some(tag) if own && tag == self.store.tag() => "these are the accounts of this broker's own leases",
            None if own => "it is this broker's own cluster: name the tag of the store that was lost",
            _ => return Ok(()),
        };
        Err(Failure::Bad { what: format!("cluster {:?}", cluster.as_str()), why: why.to_owned() })
    }

    /// What the target holds of the other cluster; `None` for a server that another target has been asked about.
    async fn left_in(
        &self,
        target: &TargetHandle,
        ask: &TakeoverAsk,
        servers: &mut HashSet<String>,
    ) -> Result<Option<Found>, EngineError> {
        let target = target.as_cluster(&ask.cluster)?;
        let fingerprint = target.fingerprint().await?;
        if !servers.insert(fingerprint.0.clone()) {
            return Ok(None);
        }
        let max = usize::try_from(self.current().config.limits.strays_per_pass_max).unwrap_or(usize::MAX);
        let mark = Mark { cluster: ask.cluster.clone(), tag: ask.tag.clone().unwrap_or_default() };
        let mut found = Found { target, fingerprint, accounts: Vec::new(), count: 0, newest: None };
        let mut after: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let (accounts, next) = match found.target.list(&mark, after.as_deref(), PAGE).await? {
                Listing::NotListable => return Ok(Some(found)),
                Listing::Page { accounts, next } => (accounts, next),
            };
            let meant = |account: &AccountName| {
                account.cluster() == &ask.cluster && ask.tag.as_ref().is_none_or(|tag| tag == account.tag())
            };
            for account in accounts.into_iter().map(|listed| listed.account).filter(meant) {
                found.count += 1;
                found.newest = found.newest.max(Some(account.lease()));
                if found.accounts.len() < max {
                    found.accounts.push(account);
                }
            }
            if next.is_none() {
                return Ok(Some(found));
            }
            if next <= after {
                break;
            }
            after = next;
        }
        Err(EngineError::refused("it does not list its accounts in their order, or more than it can have"))
    }

    /// A cluster that makes accounts is alive, whatever became of its store.
    fn is_quiet(&self, cluster: &ClusterName, found: &[Found]) -> Result<(), Failure> {
        let quiet = Duration::from_secs(self.current().config.limits.takeover_quiet_seconds);
        let newest = found.iter().filter_map(|f| f.newest).max();
        match newest.map(|id| self.clock.now().since(id.made_at())) {
            Some(age) if age < quiet => Err(Failure::StillAlive {
                why: format!(
                    "cluster {:?} made an account {} s ago: stop its brokers, and come again when the newest is \
                     takeover_quiet_seconds = {} old",
                    cluster.as_str(),
                    age.as_secs(),
                    quiet.as_secs()
                ),
            }),
            _ => Ok(()),
        }
    }

    async fn end_what_is_left(&self, left: Found) -> Result<TargetReport, Failure> {
        let Found { target, fingerprint, accounts, .. } = left;
        let mut report = TargetReport { target: target.name.clone(), ..TargetReport::default() };
        for batch in accounts.chunks(BATCH) {
            let order = |account: &AccountName| {
                // It is there, so nothing that could still make it is waited for.
                RevokeOrder::now(
                    target.engine().plan_for_stray(account, &fingerprint),
                    None,
                    Timestamp::from_unix_ms(0),
                )
            };
            let results = target.revoke(batch.iter().map(order).collect()).await;
            for (account, result) in batch.iter().zip(results) {
                let (done, note) = match result {
                    Ok(_) => ("taken_over", None),
                    Err(e) => ("failed", Some(e.to_string())),
                };
                self.put_stray_on_record(&target, account, done, note.as_deref()).await;
                report.strays.push((account.to_string(), done, note));
            }
        }
        self.metrics.strays_found(&target.name, report.strays.iter().map(|(_, done, _)| *done));
        Ok(report)
    }
}

fn told(found: &Found) -> TargetReport {
    let would = |account: &AccountName| (account.to_string(), "would_revoke", None);
    TargetReport {
        target: found.target.name.clone(),
        strays: found.accounts.iter().map(would).collect(),
        ..TargetReport::default()
    }
}

fn as_expected(matched: u64, expect: Option<u64>) -> Result<(), Failure> {
    let why = match expect {
        Some(n) if n == matched => return Ok(()),
        Some(n) => format!("{n} were expected; look again with a dry run"),
        None => "say \"expect\" with the number of a dry run".to_owned(),
    };
    Err(Failure::NotAsExpected { matched, why })
}
