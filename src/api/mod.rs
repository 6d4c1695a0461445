//! The HTTP API: accept, verify, decide per request, answer. It calls the heart and nothing behind it.

mod accept;
mod body;
mod break_glass;
mod connection;
mod delivery;
mod fair;
mod front;
mod middleware;
mod ops;
mod peer;
mod problem;
mod public;
mod routes;
mod wire;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::middleware::{from_fn_with_state, map_response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use leasehold_identity::Identity;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

pub use routes::{Endpoint, Needs, endpoints};

use crate::config::Listen;
use crate::lease::Broker;
use crate::limits::Limits;
use crate::telemetry::metrics::Metrics;
use body::BodyLimits;
use break_glass::BreakGlass;
use fair::Fair;
use front::Front;
use public::Public;

/// Connections of the ops listener at once: health checks and a scraper.
const OPS_CONNECTIONS_MAX: usize = 64;

/// Where the broker listens, with the ports that it really got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// mTLS API.
    pub api: SocketAddr,
    /// Health and metrics.
    pub ops: SocketAddr,
    /// What an issuer of tokens publishes.
    pub public: Option<SocketAddr>,
}

/// Bound listeners, not yet serving.
pub struct Server {
    api: TcpListener,
    ops: TcpListener,
    addresses: Addresses,
    front: Arc<Front>,
    ops_router: Router,
    break_glass: Option<BreakGlass>,
    public: Option<Public>,
    drain_max: Duration,
}

impl Server {
    /// Binds the listeners.
    ///
    /// # Errors
    /// When an address or the break-glass socket cannot be had.
    pub async fn bind(
        listen: &Listen,
        break_glass: Option<&Path>,
        limits: &Limits,
        identity: Arc<Identity>,
        broker: Arc<Broker>,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let api = bind(listen.api, "listen.api").await?;
        let ops = bind(listen.ops, "listen.ops").await?;
        let public = Public::bind(listen, limits, &identity, &broker, &metrics).await?;
        let addresses =
            Addresses { api: api.local_addr()?, ops: ops.local_addr()?, public: public.as_ref().map(Public::address) };
        let handlers = handlers(limits, &broker);
        let break_glass = match break_glass {
            Some(path) => Some(BreakGlass::bind(path, handlers.clone(), &identity, &broker, &metrics).await?),
            None => None,
        };
        let router = router(handlers, limits, &identity, &broker, &metrics);
        let ops_router =
            ops::router(ops::Ops { broker: broker.clone(), identity: identity.clone(), metrics: metrics.clone() });
        let front = Arc::new(Front::new(limits, identity, broker, metrics, router));
        // The other half is for what the broker itself has under way.
        let drain_max = Duration::from_millis(limits.shutdown_milliseconds_max) / 2;
        Ok(Self { api, ops, addresses, front, ops_router, break_glass, public, drain_max })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Serves until `stopped` becomes true, then finishes what is under way.
    ///
    /// # Errors
    /// Never yet: a listener that fails goes on trying.
    pub async fn run(self, stopped: watch::Receiver<bool>) -> anyhow::Result<()> {
        let ops = tokio::spawn(serve_ops(self.ops, self.ops_router));
        let by_socket = async {
            if let Some(break_glass) = self.break_glass {
                break_glass.run(stopped.clone(), self.drain_max).await;
            }
        };
        let in_public = async {
            if let Some(public) = self.public {
                public.run(stopped.clone(), self.drain_max).await;
            }
        };
        tokio::join!(accept::run(self.api, self.front, stopped.clone(), self.drain_max), by_socket, in_public);
        // Health is told to the end.
        ops.abort();
        Ok(())
    }
}

async fn bind(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{key}: cannot listen on {address}"))
}

fn size(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn handlers(limits: &Limits, broker: &Arc<Broker>) -> routes::Api {
    routes::Api {
        broker: broker.clone(),
        body: BodyLimits { bytes: size(limits.body_bytes_max), time: Duration::from_secs(limits.body_seconds_max) },
        page_leases_max: size(limits.page_leases_max),
        params_max: size(limits.params_per_request_max),
    }
}

fn router(
    api: routes::Api,
    limits: &Limits,
    identity: &Arc<Identity>,
    broker: &Arc<Broker>,
    metrics: &Arc<Metrics>,
) -> Router {
    let under_way = Arc::new(Semaphore::new(size(limits.requests_at_once_max).min(Semaphore::MAX_PERMITS)));
    let around = middleware::Around { metrics: metrics.clone(), under_way };
    let gate = peer::Gate {
        identity: identity.clone(),
        broker: broker.clone(),
        requests: Fair::new("requests_at_once_per_identity_max", limits.requests_at_once_per_identity_max),
    };
    routes::router(api)
        .layer(map_response(problem::in_our_words))
        .layer(from_fn_with_state(gate, peer::recheck))
        .layer(from_fn_with_state(around, middleware::around))
}

/// Plain HTTP, a few connections, each with a header timeout.
async fn serve_ops(listener: TcpListener, router: Router) {
    let permits = Arc::new(Semaphore::new(OPS_CONNECTIONS_MAX));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let tcp = match listener.accept().await {
            Ok((tcp, _)) => tcp,
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(10))
                .serve_connection(TokioIo::new(tcp), service)
                .await;
            drop(permit);
        });
    }
}
