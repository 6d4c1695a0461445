//! The break-glass socket: root on the broker's host looks at leases and ends them when no SVID can be had, the identity
//! provider is down, or the broker's own SVID has expired. The same calls as the API's, over HTTP/1.1 without TLS: the
//! kernel says who is on the other side.

mod gate;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::{from_fn_with_state, map_response};
use leasehold_identity::Identity;
use tokio::sync::{Semaphore, watch};

use super::middleware::{self, Around};
use super::problem;
use super::routes::{self, Api};
use crate::connections::{Connections, Manner};
use crate::lease::Broker;
use crate::socket::Socket;
use crate::telemetry::metrics::Metrics;
use gate::{Gate, OtherSide};

/// Connections of root at once: a few people with a few terminals.
const CONNECTIONS_MAX: usize = 16;

/// Connections at once of whoever is not root, each of which is refused in words.
const OTHERS_MAX: usize = 2;

/// How root is served.
const FOR_ROOT: Manner = Manner::lasting(Duration::from_secs(30), true);

/// How whoever is not root is.
const FOR_OTHERS: Manner = Manner::lasting(Duration::from_secs(2), false);

/// The bound socket, not yet serving.
pub(super) struct BreakGlass {
    socket: Socket,
    router: Router,
    broker: Arc<Broker>,
}

impl BreakGlass {
    /// Binds the socket at `path`.
    ///
    /// # Errors
    /// As [`Socket::bind`].
    pub(super) async fn bind(
        path: &Path,
        api: Api,
        identity: &Identity,
        broker: &Arc<Broker>,
        metrics: &Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let socket = Socket::bind("break_glass.socket", path, 0o600).await?;
        let domain = identity.spiffe_id().trust_domain().clone();
        let gate = Gate { broker: broker.clone(), metrics: metrics.clone(), id: domain.id("/leasehold/break-glass")? };
        // Its own bound: a storm on the API must not close this door.
        let around = Around { metrics: metrics.clone(), under_way: Arc::new(Semaphore::new(CONNECTIONS_MAX)) };
        let router = routes::router(api)
            .layer(map_response(problem::in_our_words))
            .layer(from_fn_with_state(gate, gate::admit))
            .layer(from_fn_with_state(around, middleware::around));
        tracing::info!(socket = %socket.path().display(), "the break-glass socket is open to root");
        Ok(Self { socket, router, broker: broker.clone() })
    }

    /// Serves until told to stop, then finishes what is under way, `drain_max` at most.
    pub(super) async fn run(self, stop: watch::Receiver<bool>, drain_max: Duration) {
        let (root, others) = (Arc::new(Semaphore::new(CONNECTIONS_MAX)), Arc::new(Semaphore::new(OTHERS_MAX)));
        let mut connections = Connections::new(self.router.clone(), stop);
        while let Some((stream, _)) = connections.next(|| self.socket.listener.accept()).await {
            let Some(other) = OtherSide::of(&stream) else { continue };
            if other.is_root() {
                connections.take(stream, &root, FOR_ROOT, other);
            } else {
                self.broker.break_glass_refused(other.uid, other.pid);
                connections.take(stream, &others, FOR_OTHERS, other);
            }
        }
        connections.drain(drain_max).await;
    }
}
