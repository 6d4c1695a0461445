//! What every connection needs, and the bounds that all of them share.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use leasehold_identity::Identity;
use tokio::sync::Semaphore;

use super::connection::ConnectionLimits;
use super::fair::Fair;
use crate::lease::Broker;
use crate::limits::Limits;
use crate::telemetry::metrics::Metrics;

/// What every connection needs.
pub(super) struct Front {
    pub identity: Arc<Identity>,
    pub broker: Arc<Broker>,
    pub metrics: Arc<Metrics>,
    pub router: Router,
    pub handshakes: Arc<Semaphore>,
    pub connections: Arc<Semaphore>,
    pub handshake_max: Duration,
    /// Connections of one identity.
    pub of_identity: Fair,
    pub limits: ConnectionLimits,
}

impl Front {
    pub(super) fn new(
        limits: &Limits,
        identity: Arc<Identity>,
        broker: Arc<Broker>,
        metrics: Arc<Metrics>,
        router: Router,
    ) -> Self {
        let permits = |n: u64| Arc::new(Semaphore::new(usize::try_from(n).unwrap_or(Semaphore::MAX_PERMITS)));
        Self {
            handshakes: permits(limits.handshakes_at_once_max),
            connections: permits(limits.connections_at_once_max),
            handshake_max: Duration::from_millis(limits.handshake_milliseconds_max),
            of_identity: Fair::new("connections_at_once_per_identity_max", limits.connections_at_once_per_identity_max),
            limits: ConnectionLimits::of(limits),
            identity,
            broker,
            metrics,
            router,
        }
    }
}
