//! The break-glass socket: root on the broker's host looks at leases and ends them when no SVID can be had, the identity
//! provider is down, or the broker's own SVID has expired. The same calls as the API's, over HTTP/1.1 without TLS: the
//! kernel says who is on the other side.

mod gate;

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::middleware::{from_fn_with_state, map_response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use leasehold_identity::Identity;
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower::ServiceExt;

use super::middleware::{self, Around};
use super::problem;
use super::routes::{self, Api};
use crate::lease::Broker;
use crate::socket::Socket;
use crate::telemetry::metrics::Metrics;
use gate::{Gate, OtherSide};

/// Connections of root at once: a few people with a few terminals.
const CONNECTIONS_MAX: usize = 16;

/// Connections at once of whoever is not root, each of which is refused in words.
const OTHERS_MAX: usize = 2;

/// Time to read a request's headers, and for a connection to sit idle.
const HEADER_TIME_MAX: Duration = Duration::from_secs(30);

/// The same, for whoever is not root.
const OTHERS_TIME_MAX: Duration = Duration::from_secs(2);

/// How long the loop rests when the system has no connection to give.
const REST: Duration = Duration::from_millis(50);

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
    pub(super) async fn run(self, mut stop: watch::Receiver<bool>, drain_max: Duration) {
        let (root, others) = (Arc::new(Semaphore::new(CONNECTIONS_MAX)), Arc::new(Semaphore::new(OTHERS_MAX)));
        let mut connections = JoinSet::new();
        while !*stop.borrow() {
            tokio::select! {
                accepted = self.socket.listener.accept() => {
                    let Ok((stream, _)) = accepted else {
                        tokio::time::sleep(REST).await;
                        continue;
                    };
                    let Some(other) = OtherSide::of(&stream) else { continue };
                    if !other.is_root() {
                        self.broker.break_glass_refused(other.uid, other.pid);
                    }
                    let places = if other.is_root() { &root } else { &others };
                    let Ok(place) = places.clone().try_acquire_owned() else { continue };
                    let (router, stop) = (self.router.clone(), stop.clone());
                    connections.spawn(async move {
                        serve(stream, other, router, stop).await;
                        drop(place);
                    });
                }
                Some(_) = connections.join_next() => {}
                _ = stop.changed() => {}
            }
        }
        let all_done = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(drain_max, all_done).await;
    }
}

async fn serve(stream: UnixStream, other: OtherSide, router: Router, mut stop: watch::Receiver<bool>) {
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(other);
        let router = router.clone();
        async move { Ok::<_, Infallible>(router.oneshot(request).await.unwrap_or_else(|never| match never {})) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(if other.is_root() { HEADER_TIME_MAX } else { OTHERS_TIME_MAX })
        .keep_alive(other.is_root())
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let told_to_end = async { drop(stop.wait_for(|stop| *stop).await) };
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = told_to_end => {
            connection.as_mut().graceful_shutdown();
            connection.as_mut().await
        }
    };
    if let Err(e) = result {
        tracing::debug!(error = %e, "a connection of the break-glass socket ended badly");
    }
}
