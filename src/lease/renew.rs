//! A renewal: the grant is checked again, and the lease's end moves, never past its maximum.

use std::sync::Arc;
use std::time::Duration;

use leasehold_sdk::{LeaseId, RenewOrder, failpoint};

use super::authorize::Deed;
use super::mint::{away, change_of, refused_by};
use super::{Broker, Failure, RequestId};
use crate::audit::Event;
use crate::domain::caller::Caller;
use crate::domain::grant::Action;
use crate::domain::lease::{Lease, State};
use crate::domain::ttl::Lifetimes;
use crate::engine::TargetHandle;
use crate::store::{LeaseChange, OutboxEntry, Row};

impl Broker {
    /// Moves the end of an active lease of the caller's own; the grant is checked again. Run to its end even when nobody
    /// waits for it any more.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn renew(
        self: &Arc<Self>,
        caller: &Caller,
        request: &RequestId,
        id: LeaseId,
        ttl: Option<Duration>,
    ) -> Result<Lease, Failure> {
        let (this, caller, request) = (self.clone(), caller.clone(), request.clone());
        self.to_the_end(async move { this.renew_to_the_end(&caller, &request, id, ttl).await }).await
    }

    async fn renew_to_the_end(
        self: &Arc<Self>,
        caller: &Caller,
        request: &RequestId,
        id: LeaseId,
        ttl: Option<Duration>,
    ) -> Result<Lease, Failure> {
        self.must_be_fit()?;
        let row = self.store.get(id).await?.filter(|row| caller.is(&row.lease.identity)).ok_or(Failure::NotFound)?;
        let current = self.current();
        let mut deed = Deed::on_role(Action::Mint, &row.lease.role, &row.plan.params);
        deed.lease = Some(id);
        self.authorize(&current.config.rules, caller, request, deed).await?;
        let (role, target) = self.role_and_target(&current, &row.lease.role)?;
        let ttl = role.lifetimes.choose(ttl).map_err(|e| Failure::Bad { what: "ttl".into(), why: e.to_string() })?;
        if let Some(why) = self.clock.trouble() {
            return Err(Failure::ClockOff { why });
        }
        if row.lease.state != State::Active {
            return Err(wrong(row.lease.state, "only an active lease can be renewed"));
        }
        if !row.plan.renewable {
            return Err(wrong(row.lease.state, "its end cannot be moved: ask for another credential"));
        }
        // Before the row says what the target may come to hold.
        let _place = target.place().map_err(|refusal| refused_by(target, &refusal))?;
        let renewed = self.move_end(target, row, ttl).await?;
        self.put_renewal_on_record(&renewed).await?;
        self.changes.tell(id);
        Ok(renewed)
    }

    /// The row first says what the target may come to hold, so that `worst_case_until` is never too early; then the target
    /// moves; then the lease. Of two renewals at once the longer one wins in the row, so whoever finds the row later than
    /// what it told the target tells it again.
    async fn move_end(&self, target: &TargetHandle, row: Row, ttl: Duration) -> Result<Lease, Failure> {
        let Row { lease, plan, receipt, .. } = row;
        let now = self.clock.now();
        let mut expires_at = Lifetimes::renewed(now, ttl, lease.expires_at, lease.max_expires_at);
        let worst_case_until = plan.expires_in_target.then_some(expires_at.plus(plan.slack));
        if !self.store.announce_renewal(lease.id, now, worst_case_until).await? {
            return Err(wrong(State::Revoking, "its time is up"));
        }
        failpoint::hit("renew.announced");
        loop {
            if let Some(receipt) = receipt.clone().filter(|_| plan.expires_in_target) {
                let order = RenewOrder { plan: plan.clone(), receipt, expires_at };
                target.renew(order).await.map_err(|e| away(target, &e))?;
            }
            failpoint::hit("renew.moved");
            let renewed = self.store.renew(lease.id, expires_at).await?;
            let renewed = renewed.ok_or_else(|| wrong(State::Revoking, "it was ended while it was being renewed"))?;
            failpoint::hit("renew.renewed");
            if renewed.expires_at <= expires_at {
                return Ok(renewed);
            }
            expires_at = renewed.expires_at;
        }
    }

    /// The decision is on record already. A change that the log does not take now is kept in the store until it does.
    async fn put_renewal_on_record(&self, renewed: &Lease) -> Result<(), Failure> {
        let (change, changed_at) = (change_of(renewed), self.clock.now());
        let expires_at = Some(renewed.expires_at);
        let event = Event::Lease { change: change.clone(), changed_at, expires_at, outbox: None };
        let Err(unwritten) = self.audit.write(event).await else { return Ok(()) };
        let note = Some(format!("renewed until {}", renewed.expires_at));
        let entry = OutboxEntry::Lease(LeaseChange { note, ..change });
        self.store.outbox_add(changed_at, &entry).await?;
        Err(unwritten.into())
    }
}

fn wrong(state: State, why: &str) -> Failure {
    Failure::WrongState { state, why: why.to_owned() }
}
