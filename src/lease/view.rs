//! Looking: leases, roles, and what would be allowed.

use std::sync::Arc;
use std::time::Duration;

use leasehold_identity::SpiffeId;
use leasehold_sdk::LeaseId;
use tokio::sync::broadcast;

use super::authorize::{Deed, new_decision_id, no_params};
use super::{Broker, Decided, DecisionAsk, Failure, Page, Query, RequestId};
use crate::audit::Event;
use crate::domain::caller::Caller;
use crate::domain::grant::Action;
use crate::domain::lease::{Lease, State};
use crate::domain::role::Role;
use crate::policy::{self, Decision, Question, Rules};
use crate::store::{Filter, Visible};

/// How often a waiter looks for itself: another broker's changes make no news here.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Broker {
    /// One lease, if the caller may see it.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn lease(&self, caller: &Caller, request: &RequestId, id: LeaseId) -> Result<Lease, Failure> {
        let lease = self.store.get(id).await?.ok_or(Failure::NotFound)?.lease;
        let rules = self.current().config.rules.clone();
        if !self.may_see(&rules, caller, &lease) {
            return Err(Failure::NotFound);
        }
        // Looking at one's own needs no decision; at another's it is one, and goes on record.
        if !caller.is(&lease.identity) {
            let action = seeing(&rules, caller, Some(&lease.role)).unwrap_or(Action::Read);
            let mut deed = Deed::on_role(action, &lease.role, no_params());
            deed.lease = Some(id);
            self.authorize_looking(&rules, caller, request, deed).await?;
        }
        Ok(lease)
    }

    /// One lease, answered when it is no longer in state `state`, or after `wait`.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn lease_while(
        &self,
        caller: &Caller,
        request: &RequestId,
        id: LeaseId,
        state: State,
        wait: Duration,
    ) -> Result<Lease, Failure> {
        let mut news = self.changes.listen();
        self.lease(caller, request, id).await?;
        let max = Duration::from_secs(self.current().config.limits.wait_seconds_max);
        self.wait_until(&mut news, id, wait.min(max), |l| l.state != state).await
    }

    /// Waits until `done` says so, `wait` at most; answers the lease as it is then. `news` must be older than the deed
    /// that is waited for.
    pub(super) async fn wait_until(
        &self,
        news: &mut broadcast::Receiver<LeaseId>,
        id: LeaseId,
        wait: Duration,
        done: impl Fn(&Lease) -> bool,
    ) -> Result<Lease, Failure> {
        let deadline = tokio::time::Instant::now() + wait;
        let mut stop = self.changes.waiting_ends();
        loop {
            let lease = self.store.get(id).await?.ok_or(Failure::NotFound)?.lease;
            let now = tokio::time::Instant::now();
            if done(&lease) || now >= deadline || *stop.borrow() {
                return Ok(lease);
            }
            let look_again = (now + LOOK_AGAIN).min(deadline);
            let about_this = async {
                // Falling behind counts as news: then it must look.
                while matches!(news.recv().await, Ok(other) if other != id) {}
            };
            tokio::select! {
                () = about_this => {}
                () = tokio::time::sleep_until(look_again) => {}
                _ = stop.changed() => {}
            }
        }
    }

    /// The leases that the caller may see, newest first.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn leases(&self, caller: &Caller, request: &RequestId, query: Query) -> Result<Page, Failure> {
        let rules = self.current().config.rules.clone();
        let visible = visible_to(&rules, caller);
        self.put_looking_on_record(&rules, caller, request, &visible, query.role.as_deref()).await?;
        let filter = Filter { role: query.role, target: query.target, identity: query.identity, state: query.state };
        let mut leases = self.store.list(&visible, &filter, query.before, query.limit + 1).await?;
        let more = leases.len() > query.limit;
        leases.truncate(query.limit);
        let next = leases.last().filter(|_| more).map(|l| l.id);
        Ok(Page { leases, next })
    }

    /// Looking at others' leases is a decision for each role that it is allowed by; looking at one's own is none.
    async fn put_looking_on_record(
        &self,
        rules: &Rules,
        caller: &Caller,
        request: &RequestId,
        visible: &Visible,
        only: Option<&str>,
    ) -> Result<(), Failure> {
        let allowed_by = |role: Option<&str>| seeing(rules, caller, role).unwrap_or(Action::Read);
        match visible {
            Visible::All => {
                self.authorize_looking(rules, caller, request, Deed::on_broker(allowed_by(None))).await?;
            }
            Visible::Own { roles, .. } => {
                for role in roles.iter().filter(|role| only.is_none_or(|only| only == role.as_str())) {
                    let deed = Deed::on_role(allowed_by(Some(role)), role, no_params());
                    self.authorize_looking(rules, caller, request, deed).await?;
                }
            }
        }
        Ok(())
    }

    /// Looking hands nothing out, and is needed most when something is wrong: it does not wait for a log that takes no lines.
    pub(super) async fn authorize_looking(
        &self,
        rules: &Rules,
        caller: &Caller,
        request: &RequestId,
        deed: Deed<'_>,
    ) -> Result<(), Failure> {
        match self.authorize(rules, caller, request, deed).await {
            Err(Failure::AuditAway { why }) => {
                tracing::error!(identity = %caller.id, why = %why, "leases were looked at while the audit log took no lines");
                Ok(())
            }
            other => other.map(drop),
        }
    }

    /// The roles that the caller may mint.
    pub fn roles(&self, caller: &Caller) -> Vec<Arc<Role>> {
        let rules = self.current().config.rules.clone();
        let mintable = |role: &&Arc<Role>| {
            rules.grants.iter().any(|g| {
                g.actions.contains(&Action::Mint)
                    && g.roles.contains(&role.name)
                    && g.identities.iter().any(|p| p.matches(&caller.id))
            })
        };
        rules.roles.values().filter(mintable).cloned().collect()
    }

    /// Would this be allowed, by which grant, and if not why.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn decide(&self, caller: &Caller, request: &RequestId, ask: DecisionAsk) -> Result<Decided, Failure> {
        self.rates.question(caller.id.as_str())?;
        let rules = self.current().config.rules.clone();
        let about = ask.identity.clone().unwrap_or_else(|| caller.id.clone());
        // Asking is a deed of its own: about oneself it needs nothing, about others `read` on the role.
        let mut asking = Deed::on_role(Action::Read, &ask.role, no_params());
        asking.own = caller.is(&about);
        if !self.would(&rules, caller, &asking).allowed() {
            self.authorize(&rules, caller, request, asking).await?;
        }
        let question = Question {
            identity: &about,
            action: ask.action,
            role: Some(&ask.role),
            params: &ask.params,
            subject: ask.subject.as_ref(),
            break_glass: false,
        };
        let (allowed, grant, reason) = match policy::decide(&rules, question) {
            Decision::Allowed { grant, .. } => (true, Some(grant), None),
            Decision::BreakGlass => (true, None, None),
            Decision::Denied(why) => (false, None, Some(why.to_string())),
        };
        let decided = Decided { allowed, grant, reason, decision_id: new_decision_id() };
        self.audit.write(answered(caller, request, &about, ask, &decided)).await?;
        Ok(decided)
    }

    /// Own leases, and those of roles on which it may `read` or `revoke`.
    pub(super) fn may_see(&self, rules: &Rules, caller: &Caller, lease: &Lease) -> bool {
        caller.is(&lease.identity) || seeing(rules, caller, Some(&lease.role)).is_some()
    }
}

/// The line that the decision's id leads to: it says what the asker was told.
fn answered(caller: &Caller, request: &RequestId, about: &SpiffeId, ask: DecisionAsk, decided: &Decided) -> Event {
    Event::Question {
        decision_id: decided.decision_id.clone(),
        request_id: request.0.clone(),
        identity: caller.id.to_string(),
        cert_sha256: caller.cert_sha256().map(str::to_owned),
        break_glass: caller.break_glass().cloned(),
        about: about.to_string(),
        action: ask.action.to_string(),
        role: policy::cut(&ask.role).into_owned(),
        params: ask.params,
        subject: ask.subject.map(|subject| subject.to_string()),
        allowed: decided.allowed,
        grant: decided.grant.clone(),
        reason: decided.reason.clone(),
    }
}

fn may(rules: &Rules, caller: &Caller, action: Action, role: Option<&str>) -> bool {
    let break_glass = caller.break_glass().is_some();
    policy::decide(
        rules,
        Question { identity: &caller.id, action, role, params: no_params(), subject: None, break_glass },
    )
    .allowed()
}

/// The action by which the caller sees others' leases of `role`: `read`, or `revoke`, which is of no use blind.
fn seeing(rules: &Rules, caller: &Caller, role: Option<&str>) -> Option<Action> {
    [Action::Read, Action::Revoke].into_iter().find(|action| may(rules, caller, *action, role))
}

fn visible_to(rules: &Rules, caller: &Caller) -> Visible {
    let sees = |role: Option<&str>| seeing(rules, caller, role).is_some();
    if sees(None) {
        return Visible::All;
    }
    let roles = rules.roles.keys().filter(|role| sees(Some(role))).cloned().collect();
    Visible::Own { identity: caller.id.clone(), roles }
}
