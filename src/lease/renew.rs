//! A renewal: the grant is checked again, and the lease's end moves, never past its maximum.

use std::sync::Arc;
use std::time::Duration;

use leasehold_sdk::{LeaseId, RenewOrder};

use super::authorize::Deed;
use super::mint::{away, change_of};
use super::{Broker, Failure, RequestId};
use crate::audit::Event;
use crate::domain::caller::Caller;
use crate::domain::grant::Action;
use crate::domain::lease::{Lease, State};
use crate::domain::ttl::Lifetimes;
use crate::store::Row;

impl Broker {
    /// Moves the end of an active lease of the caller's own; the grant is checked again.
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
        let row = self.store.get(id).await?.filter(|row| row.lease.identity == caller.id).ok_or(Failure::NotFound)?;
        let current = self.current();
        let mut deed = Deed::on_role(Action::Mint, &row.lease.role, &row.plan.params);
        deed.lease = Some(id);
        self.authorize(&current.config.rules, caller, request, deed).await?;
        let (role, target) = self.role_and_target(&current, &row.lease.role)?;
        let ttl = role.lifetimes.choose(ttl).map_err(|e| Failure::Bad { what: "ttl".into(), why: e.to_string() })?;
        if let Some(why) = self.clock.trouble() {
            return Err(Failure::ClockOff { why });
        }
        let Row { lease, plan, receipt, .. } = row;
        let now = self.clock.now();
        let wrong = |state, why: &str| Failure::WrongState { state, why: why.to_owned() };
        if lease.state != State::Active {
            return Err(wrong(lease.state, "only an active lease can be renewed"));
        }
        let expires_at = Lifetimes::renewed(now, ttl, lease.expires_at, lease.max_expires_at);
        // The row says first what the target may come to hold, so that `worst_case_until` is never too early.
        let worst_case_until = plan.expires_in_target.then_some(expires_at);
        if !self.store.announce_renewal(id, now, worst_case_until).await? {
            return Err(wrong(State::Revoking, "its time is up"));
        }
        if let Some(receipt) = receipt.filter(|_| plan.expires_in_target) {
            target.renew(RenewOrder { plan, receipt, expires_at }).await.map_err(|e| away(target, &e))?;
        }
        let renewed = self.store.renew(id, expires_at).await?;
        let renewed = renewed.ok_or_else(|| wrong(State::Revoking, "it was ended while it was being renewed"))?;
        self.audit
            .write(Event::Lease {
                change: change_of(&renewed),
                changed_at: now,
                expires_at: Some(renewed.expires_at),
                outbox: None,
            })
            .await?;
        self.changes.tell(id);
        Ok(renewed)
    }
}
