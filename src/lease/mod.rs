//! The heart: mint, renew, revoke, reap, reconcile. The only code that changes a lease's state.
//!
//! [`Broker`] is all that the API sees. Each of its deeds decides first (default deny), puts the decision on record, and
//! only then acts.

pub mod ask;
pub mod error;

use std::sync::Arc;
use std::time::Duration;

use leasehold_sdk::{Credential, LeaseId};

pub use ask::{
    Decided, DecisionAsk, Forgotten, ManyAsk, Matching, MintAsk, OrderTaken, Page, Query, ReconcileAsk,
    ReconcileReport, RequestId, StrayOrder, TargetReport,
};
pub use error::Failure;

use crate::domain::caller::Caller;
use crate::domain::lease::{Lease, State};
use crate::domain::role::Role;

/// The broker, as the API sees it.
pub struct Broker {}

/// A credential for its caller, once.
pub struct Issued {
    /// Its lease, active.
    pub lease: Lease,
    /// The credential.
    pub credential: Credential,
    /// To be told when the credential has reached its caller.
    pub delivery: Delivery,
}

/// Ends the lease at once unless it is told that the credential was delivered (law 1).
pub struct Delivery {
    armed: Option<(LeaseId, Arc<Broker>)>,
}

impl Delivery {
    /// The bytes have left for the caller: the lease lives on.
    pub fn delivered(mut self) {
        self.armed = None;
    }

    /// The lease it is about.
    pub fn lease(&self) -> Option<LeaseId> {
        self.armed.as_ref().map(|(id, _)| *id)
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some((_id, _broker)) = self.armed.take() {}
    }
}

impl Broker {
    /// Decides, records, makes and hands out one credential. Never cancelled half-way: run to its end even when the
    /// future that waits for it is dropped; what then reaches nobody is ended at once.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn mint(
        self: &Arc<Self>,
        _caller: &Caller,
        _request: &RequestId,
        _ask: MintAsk,
    ) -> Result<Issued, Failure> {
        Err(Failure::NotFound)
    }

    /// Moves the end of an active lease of the caller's own; the grant is checked again.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn renew(
        self: &Arc<Self>,
        _caller: &Caller,
        _request: &RequestId,
        _id: LeaseId,
        _ttl: Option<Duration>,
    ) -> Result<Lease, Failure> {
        Err(Failure::NotFound)
    }

    /// Ends one lease: the caller's own, or another's with a `revoke` grant on its role. Answers it as it stands after a
    /// short wait: dead, or still `revoking`.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn revoke(
        self: &Arc<Self>,
        _caller: &Caller,
        _request: &RequestId,
        _id: LeaseId,
    ) -> Result<Lease, Failure> {
        Err(Failure::NotFound)
    }

    /// Ends many in one durable order.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn revoke_many(
        &self,
        _caller: &Caller,
        _request: &RequestId,
        _ask: ManyAsk,
    ) -> Result<OrderTaken, Failure> {
        Err(Failure::NotFound)
    }

    /// One lease, if the caller may see it.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn lease(&self, _caller: &Caller, _id: LeaseId) -> Result<Lease, Failure> {
        Err(Failure::NotFound)
    }

    /// One lease, answered when it is no longer in state `state`, or after `wait`.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn lease_while(
        &self,
        _caller: &Caller,
        _id: LeaseId,
        _state: State,
        _wait: Duration,
    ) -> Result<Lease, Failure> {
        Err(Failure::NotFound)
    }

    /// The leases that the caller may see, newest first.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn leases(&self, _caller: &Caller, _query: Query) -> Result<Page, Failure> {
        Err(Failure::NotFound)
    }

    /// The roles that the caller may mint.
    pub fn roles(&self, _caller: &Caller) -> Vec<Arc<Role>> {
        Vec::new()
    }

    /// Would this be allowed, by which grant, and if not why.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn decide(&self, _caller: &Caller, _request: &RequestId, _ask: DecisionAsk) -> Result<Decided, Failure> {
        Err(Failure::NotFound)
    }

    /// Runs a pass of the reconciler now and answers what it found.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn reconcile(
        self: &Arc<Self>,
        _caller: &Caller,
        _request: &RequestId,
        _ask: ReconcileAsk,
    ) -> Result<ReconcileReport, Failure> {
        Err(Failure::NotFound)
    }

    /// Closes the leases of a target that is gone for good, without ending them there.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn forget_target(
        &self,
        _caller: &Caller,
        _request: &RequestId,
        _target: &str,
    ) -> Result<Forgotten, Failure> {
        Err(Failure::NotFound)
    }

    /// A handshake was refused: audited at a bounded rate, counted beyond it.
    pub fn handshake_refused(&self, _peer: std::net::SocketAddr, _reason: &'static str, _claimed: Option<String>) {}

    /// Whether the broker can do its work: for `/readyz`.
    pub async fn readiness(&self) -> Readiness {
        Readiness::default()
    }
}

/// What `/readyz` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Readiness {
    /// What keeps the broker from being ready, by part (`store`, `audit`, `clock`): empty when it is.
    pub problems: Vec<(&'static str, String)>,
    /// Each target and, if it is not reached, why; never counts.
    pub targets: Vec<(String, Option<String>)>,
}
