//! Ending one lease.

use std::sync::Arc;
use std::time::Duration;

use leasehold_sdk::{LeaseId, failpoint};

use super::authorize::{Deed, no_params};
use super::{Broker, Failure, RequestId};
use crate::domain::caller::Caller;
use crate::domain::grant::Action;
use crate::domain::lease::{EndedBy, Lease, State};
use crate::store::StoreError;

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
        let own = caller.is(&lease.identity);
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
            subject: None,
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
            return self.wait_until(&mut news, id, WAIT_FOR_DEAD, Lease::is_settled).await;
        }
        self.authorize_end(&rules, caller, request, deed).await?;
        if lease.state.is_live() {
            self.end_now(id, if own { EndedBy::Caller } else { EndedBy::Operator }).await?;
        }
        self.wait_until(&mut news, id, WAIT_FOR_DEAD, Lease::is_settled).await
    }

    /// Makes a lease `revoking` and due, and wakes its reaper.
    pub(super) async fn end_now(&self, id: LeaseId, by: EndedBy) -> Result<(), StoreError> {
        if let Some(row) = self.store.end(id, by, self.clock.now()).await? {
            failpoint::hit("revoke.ordered");
            self.changes.tell(id);
            self.changes.outbox.notify_one();
            self.changes.bell(&row.lease.target).notify_waiters();
        }
        Ok(())
    }
}
