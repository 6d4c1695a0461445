//! A mint: decide, record, make, activate, hand out. Each step is durable before the next (law 1).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use leasehold_sdk::{
    AccountName, EngineError, LeaseId, MintOrder, Minted, Plan, PlanRequest, Revocable, failpoint, random,
};

use super::authorize::Deed;
use super::{Broker, Current, Delivery, Failure, Issued, MintAsk, RequestId};
use crate::audit::Event;
use crate::domain::caller::{Caller, Proof};
use crate::domain::grant::Action;
use crate::domain::lease::{EndedBy, Lease, State};
use crate::domain::role::Role;
use crate::domain::ttl::Times;
use crate::engine::{MintRefusal, TargetHandle};
use crate::store::{Inserted, LeaseChange, NewLease};

/// What a caller is told to wait when a target is away and does not say for how long.
pub(super) const COME_AGAIN: Duration = Duration::from_secs(5);

/// The kind of credential that has scopes.
const TOKEN: &str = "token";

impl Broker {
    /// Decides, records, makes and hands out one credential. Never cancelled half-way: run to its end even when the
    /// future that waits for it is dropped; what then reaches nobody is ended at once.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn mint(self: &Arc<Self>, caller: &Caller, request: &RequestId, ask: MintAsk) -> Result<Issued, Failure> {
        let (this, caller, request) = (self.clone(), caller.clone(), request.clone());
        self.to_the_end(async move {
            let target = this.current().config.rules.roles.get(&ask.role).map(|r| r.target.clone());
            let started = leasehold_sdk::clock::boot();
            let result = this.mint_to_the_end(&caller, &request, ask).await;
            if let Some(target) = target {
                let word = result.as_ref().map_or_else(Failure::word, |_| "ok");
                this.metrics.mint(&target, word, leasehold_sdk::clock::boot() - started);
            }
            result
        })
        .await
    }

    async fn mint_to_the_end(
        self: &Arc<Self>,
        caller: &Caller,
        request: &RequestId,
        ask: MintAsk,
    ) -> Result<Issued, Failure> {
        self.must_be_fit()?;
        if self.is_stopping() {
            return Err(Failure::Busy { why: "it is stopping".into(), limit: None, retry_after: COME_AGAIN });
        }
        let current = self.current();
        let lease_id = LeaseId::at(self.clock.now());
        let action = if ask.behalf.is_some() { Action::Exchange } else { Action::Mint };
        let mut deed = Deed::on_role(action, &ask.role, &ask.params);
        deed.subject = ask.behalf.as_ref().map(|behalf| &behalf.subject);
        if !self.would(&current.config.rules, caller, &deed).allowed() {
            return Err(self
                .authorize(&current.config.rules, caller, request, deed)
                .await
                .err()
                .unwrap_or(Failure::NotFound));
        }
        let (role, target) = self.role_and_target(&current, &ask.role)?;
        let ttl =
            role.lifetimes.choose(ask.ttl).map_err(|e| Failure::Bad { what: "ttl".into(), why: e.to_string() })?;
        if ask.scope.is_some() && role.kind != TOKEN {
            let why = format!("is for tokens; the role {:?} gives a credential of the kind {}", role.name, role.kind);
            return Err(Failure::Bad { what: "scope".into(), why });
        }
        if !role.leased {
            // Where there is a lease, the statement that records it looks at the blocks.
            self.blocks_must_be_fresh()?;
        }
        let replaces = self.due_replacement(caller, &role.name, ask.replaces).await?;
        if replaces.is_none() {
            self.rates.mint(caller.id.as_str(), &role.name)?;
        }
        if let Some(why) = self.clock.trouble() {
            return Err(Failure::ClockOff { why });
        }
        let _place = target.place().map_err(|refusal| refused_by(target, &refusal))?;
        let fingerprint = target.fingerprint_known().await.map_err(|e| away(target, &e))?;
        deed.lease = Some(lease_id);
        deed.dangerous = target.vet(role).await.map_err(|e| away(target, &e))?;
        let permit = self.authorize(&current.config.rules, caller, request, deed).await?;
        failpoint::hit("mint.decided");

        let account = AccountName::new(current.config.broker.cluster.clone(), self.store.tag().clone(), lease_id);
        let slot = match role.kind == TOKEN && role.leased {
            true => Some(self.issuer.slot().map_err(|e| away(target, &e))?),
            false => None,
        };
        let facts = facts_of(caller, &ask, permit.captured)?;
        let plan = target
            .engine()
            .plan(&PlanRequest {
                lease: lease_id,
                account: &account,
                role: &role.name,
                settings: &role.settings,
                caller: &facts,
                fingerprint: &fingerprint,
                scope: ask.scope.as_deref(),
                slot,
            })
            .map_err(|e| Failure::Bad { what: "the request".into(), why: e.to_string() })?;
        let times = role.lifetimes.times(self.clock.now(), ttl, random::fraction());
        let times = times.bounded(plan.ends_by, plan.renewable);
        if !role.leased {
            return self.sign_and_forget(&current, target, plan, times).await;
        }
        let lease = new_lease(lease_id, role, caller, &plan, times, ttl);
        self.record_and_make((caller, request), &current, target, lease, plan, replaces).await
    }

    async fn record_and_make(
        self: &Arc<Self>,
        (caller, request): (&Caller, &RequestId),
        current: &Current,
        target: &Arc<TargetHandle>,
        lease: Lease,
        plan: Plan,
        replaces: Option<LeaseId>,
    ) -> Result<Issued, Failure> {
        let limits = &current.config.limits;
        let time_left = Duration::from_millis(limits.mint_milliseconds_max);
        let deadline = lease.issued_at.plus(time_left);
        let new = NewLease {
            lease: lease.clone(),
            plan: plan.clone(),
            mint_deadline: deadline,
            live_max: limits.live_leases_per_identity_and_role,
            replaces,
        };
        match self.store.insert(new).await? {
            Inserted::Recorded => {}
            // Another broker was told so a moment ago.
            Inserted::Blocked => return Err(self.refuse_blocked(caller, request, "mint").await),
            Inserted::CapReached => {
                return Err(Failure::Limit {
                    limit: "live_leases_per_identity_and_role",
                    value: limits.live_leases_per_identity_and_role,
                    why: format!("you hold that many live leases of role {:?}; revoke what is not used", lease.role),
                    retry_after: COME_AGAIN,
                });
            }
        }
        failpoint::hit("mint.recorded");
        let order = MintOrder { plan, expires_at: lease.expires_at, deadline };
        let minted = match target.mint(lease.identity.as_str(), order, time_left).await {
            Ok(minted) => minted,
            Err(refusal) => return Err(self.mint_failed(target, lease.id, refusal).await),
        };
        failpoint::hit("mint.made");
        self.activate(lease, minted, target).await
    }

    /// The one exception to law 1: a token without a lease is signed, and nothing is kept of it. It lives for minutes, and its audit line
    /// is that of the decision.
    async fn sign_and_forget(
        &self,
        current: &Current,
        target: &Arc<TargetHandle>,
        plan: Plan,
        times: Times,
    ) -> Result<Issued, Failure> {
        let deadline = times.issued_at.plus(Duration::from_millis(current.config.limits.mint_milliseconds_max));
        let order = MintOrder { plan, expires_at: times.expires_at, deadline };
        // There is no target to be spared by lanes: signing is all that happens.
        let minted = target.engine().mint(vec![order]).await.pop();
        let minted = minted.unwrap_or_else(|| Err(EngineError::unknown("it answered nothing")));
        let minted = minted.map_err(|e| away(target, &e))?;
        let delivery = Delivery { armed: None };
        Ok(Issued { lease: None, expires_at: times.expires_at, credential: minted.credential, delivery })
    }

    /// The last steps: the row says active, the log says active, the caller gets it.
    async fn activate(
        self: &Arc<Self>,
        mut lease: Lease,
        minted: Minted,
        target: &TargetHandle,
    ) -> Result<Issued, Failure> {
        // From here on whatever goes wrong ends the lease: the guard is dropped.
        let delivery = Delivery { armed: Some((lease.id, self.clone())) };
        if !self.store.activate(lease.id, minted.receipt).await? {
            return Err(Failure::TargetAway {
                target: target.name.clone(),
                why: "it took longer than mint_milliseconds_max; the lease is being ended".into(),
                retry_after: COME_AGAIN,
            });
        }
        failpoint::hit("mint.activated");
        lease.state = State::Active;
        self.audit
            .write(Event::Lease {
                change: change_of(&lease),
                changed_at: self.clock.now(),
                expires_at: Some(lease.expires_at),
                outbox: None,
            })
            .await?;
        failpoint::hit("mint.on_record");
        // No bell for the reapers: no lease is shorter than their longest sleep, and each bell costs two looks at the store.
        self.changes.tell(lease.id);
        let expires_at = lease.expires_at;
        Ok(Issued { lease: Some(lease), expires_at, credential: minted.credential, delivery })
    }

    async fn mint_failed(&self, target: &TargetHandle, id: LeaseId, refusal: MintRefusal) -> Failure {
        let failure = refused_by(target, &refusal);
        let nothing_made = !matches!(refusal, MintRefusal::Engine(EngineError::Unknown { .. }));
        // Should the store be away now, the row's own deadline brings the reaper to it.
        if let Err(e) = self.close_failed(id, nothing_made).await {
            tracing::warn!(lease = %id, error = %e, "a failed mint could not be closed at once; its deadline will");
        }
        self.changes.bell(&target.name).notify_waiters();
        failure
    }

    /// Nothing was made, certainly: the lease is over. Else the reaper looks, until it knows.
    async fn close_failed(&self, id: LeaseId, nothing_made: bool) -> Result<(), crate::store::StoreError> {
        let now = self.clock.now();
        if nothing_made {
            self.store.close_unmade(id, now).await?;
        } else {
            self.store.end(id, EndedBy::Failed, now).await?;
        }
        self.changes.outbox.notify_one();
        Ok(())
    }

    /// `replaces` counts when it is the caller's own active lease of the same role and its time to rotate has come: then no
    /// cap stands in its way (law 8), once.
    async fn due_replacement(
        &self,
        caller: &Caller,
        role: &str,
        replaces: Option<LeaseId>,
    ) -> Result<Option<LeaseId>, Failure> {
        let Some(old_id) = replaces else { return Ok(None) };
        let old = self.store.get(old_id).await?.map(|row| row.lease);
        let Some(old) = old.filter(|old| caller.is(&old.identity) && old.role == role) else {
            return Err(Failure::Bad {
                what: "replaces".into(),
                why: format!("{old_id} is not a lease of role {role:?} that you hold"),
            });
        };
        Ok((old.state == State::Active && old.rotate_at <= self.clock.now()).then_some(old_id))
    }

    pub(super) fn role_and_target<'a>(
        &self,
        current: &'a Current,
        role: &str,
    ) -> Result<(&'a Arc<Role>, &'a Arc<TargetHandle>), Failure> {
        // Both were checked when the configuration was read; a decision that allows names a role that is there.
        let role = current.config.rules.roles.get(role).ok_or(Failure::NotFound)?;
        let target = current.engines.get(&role.target).ok_or(Failure::NotFound)?;
        if target.retired {
            return Err(Failure::TargetRefused {
                target: target.name.clone(),
                why: "it is retired: nothing new is made in it".into(),
            });
        }
        Ok((role, target))
    }

    /// A credential that reached nobody is ended at once (law 1).
    pub(super) fn undelivered(self: Arc<Self>, id: LeaseId) {
        let under_way = self.tasks.begin();
        tokio::spawn(async move {
            tracing::info!(lease = %id, "the credential did not reach its caller; its lease is ended");
            if let Err(e) = self.end_now(id, EndedBy::Failed).await {
                tracing::warn!(lease = %id, error = %e, "could not end an undelivered lease at once; its expiry will");
            }
            drop(under_way);
        });
    }
}

fn facts_of(
    caller: &Caller,
    ask: &MintAsk,
    captured: BTreeMap<String, String>,
) -> Result<leasehold_sdk::Caller, Failure> {
    let Proof::Certificate { sha256, not_after } = &caller.proof else {
        // The policy has said no before; nothing is made for whoever cannot have it.
        return Err(Failure::NotFound);
    };
    Ok(leasehold_sdk::Caller {
        spiffe_id: caller.id.to_string(),
        cert_sha256: sha256.clone(),
        not_after: *not_after,
        params: ask.params.clone(),
        captured,
        behalf: ask.behalf.as_ref().map(|behalf| behalf.told.clone()),
    })
}

fn new_lease(id: LeaseId, role: &Role, caller: &Caller, plan: &Plan, times: Times, ttl: Duration) -> Lease {
    Lease {
        id,
        role: role.name.clone(),
        target: role.target.clone(),
        identity: caller.id.clone(),
        state: State::Pending,
        ended_by: None,
        issued_at: times.issued_at,
        expires_at: times.expires_at,
        max_expires_at: times.max_expires_at,
        rotate_at: times.rotate_at,
        renewable: plan.renewable && plan.revocable != Revocable::None && ttl < role.lifetimes.max_ttl(),
        revocable: plan.revocable,
        worst_case_until: plan.expires_in_target.then_some(times.expires_at.plus(plan.slack)),
        account: plan.account.clone(),
        attempts: 0,
        last_error: None,
    }
}

/// A lease's change as the audit log has it.
pub(super) fn change_of(lease: &Lease) -> LeaseChange {
    LeaseChange {
        lease: lease.id,
        role: lease.role.clone(),
        target: lease.target.clone(),
        identity: lease.identity.clone(),
        account: lease.account.to_string(),
        state: lease.state,
        ended_by: lease.ended_by,
        attempts: lease.attempts,
        note: lease.last_error.clone(),
    }
}

/// Why a target took no request, as a caller may read it.
pub(super) fn refused_by(target: &TargetHandle, refusal: &MintRefusal) -> Failure {
    match refusal {
        MintRefusal::QueueFull => Failure::Busy {
            why: format!("mints_waiting_per_target_max is reached for target {:?}", target.name),
            limit: Some("mints_waiting_per_target_max"),
            retry_after: COME_AGAIN,
        },
        MintRefusal::Engine(e) => away(target, e),
    }
}

/// An engine's error as a caller may read it.
pub(super) fn away(target: &TargetHandle, error: &EngineError) -> Failure {
    let (target, why) = (target.name.clone(), error.to_string());
    match error {
        EngineError::Refused { .. } => Failure::TargetRefused { target, why },
        EngineError::Retry { after, .. } => {
            Failure::TargetAway { target, why, retry_after: after.unwrap_or(COME_AGAIN) }
        }
        EngineError::Unknown { .. } => Failure::TargetAway { target, why, retry_after: COME_AGAIN },
    }
}
