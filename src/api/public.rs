//! The public listener: what an issuer of tokens publishes, for verifiers that show no certificate. It shares no bound with the API, so
//! that nobody who is not known can take anything from those who are.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use leasehold_identity::{Identity, PublicAcceptor};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_io_timeout::TimeoutStream;

use super::fair::Fair;
use super::size;
use crate::config::{Listen, PublicListen};
use crate::connections::{Connections, Manner};
use crate::lease::Broker;
use crate::limits::Limits;
use crate::telemetry::metrics::Metrics;

/// How often the files of `public_tls` are read again.
const RELOAD_EVERY: Duration = Duration::from_secs(10);

/// A bound listener.
pub(super) struct Public {
    listener: TcpListener,
    address: SocketAddr,
    acceptor: Arc<PublicAcceptor>,
    router: Router,
    metrics: Arc<Metrics>,
    places: Arc<Semaphore>,
    of_address: Fair<IpAddr>,
    handshake_max: Duration,
    unread_max: Duration,
    manner: Manner,
}

impl Public {
    /// Binds it, where there is to be one.
    ///
    /// # Errors
    /// When the address cannot be had, or the certificate cannot be used.
    pub(super) async fn bind(
        listen: &Listen,
        limits: &Limits,
        identity: &Arc<Identity>,
        broker: &Arc<Broker>,
        metrics: &Arc<Metrics>,
    ) -> anyhow::Result<Option<Self>> {
        let Some(PublicListen { address, tls }) = &listen.public else { return Ok(None) };
        let acceptor = match tls {
            None => PublicAcceptor::with_svid(identity.clone()),
            Some(files) => PublicAcceptor::with_files(files.clone()).context("listen.public_tls")?,
        };
        if let Some(warning) = acceptor.warning() {
            tracing::warn!("listen.public_tls: {warning}");
        }
        let listener = super::bind(*address, "listen.public").await?;
        let per_address = limits.public_connections_at_once_per_address_max;
        Ok(Some(Self {
            address: listener.local_addr()?,
            listener,
            acceptor: Arc::new(acceptor),
            router: Router::new().fallback(document).with_state(broker.clone()),
            metrics: metrics.clone(),
            places: Arc::new(Semaphore::new(size(limits.public_connections_at_once_max).min(Semaphore::MAX_PERMITS))),
            of_address: Fair::new("public_connections_at_once_per_address_max", per_address),
            handshake_max: Duration::from_millis(limits.handshake_milliseconds_max),
            unread_max: Duration::from_secs(limits.unread_seconds_max),
            manner: Manner {
                header_time_max: Duration::from_secs(limits.header_seconds_max),
                keep_alive: true,
                header_bytes_max: size(limits.header_bytes_max),
                age_max: Duration::from_secs(limits.connection_seconds_max),
            },
        }))
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until told to stop, then what is under way, `drain_max` at most.
    pub(super) async fn run(self, stop: watch::Receiver<bool>, drain_max: Duration) {
        let reloading = tokio::spawn(keep_reloading(self.acceptor.clone()));
        let mut connections = Connections::new(self.router.clone(), stop);
        while let Some((tcp, from)) = connections.next(|| self.listener.accept()).await {
            let Some(held) = self.of_address.take(&counted_as(from.ip())) else {
                self.metrics.hit(self.of_address.limit);
                continue;
            };
            if self.places.available_permits() == 0 {
                self.metrics.hit("public_connections_at_once_max");
            }
            let (acceptor, time, unread_max) = (self.acceptor.clone(), self.handshake_max, self.unread_max);
            // The address has its place given back when the connection ends: what is held is among its extensions.
            let opening = async move {
                let tls = tokio::time::timeout(time, acceptor.accept(tcp)).await.ok()?;
                // Whoever asks and asks and reads nothing would keep its place for ever.
                let mut tls = TimeoutStream::new(tls.ok()?);
                tls.set_write_timeout(Some(unread_max));
                Some((Box::pin(tls), Arc::new(held)))
            };
            connections.take_opened(opening, &self.places, self.manner);
        }
        reloading.abort();
        connections.drain(drain_max).await;
    }
}

/// Whose share of the places an address counts to. An IPv6 host has a whole network to choose from (RFC 4291 section 2.5.4).
fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

async fn keep_reloading(acceptor: Arc<PublicAcceptor>) {
    let mut failing = false;
    loop {
        tokio::time::sleep(RELOAD_EVERY).await;
        let acceptor = acceptor.clone();
        let read = tokio::task::spawn_blocking(move || acceptor.reload()).await;
        match read {
            Ok(Ok(())) => failing = false,
            Ok(Err(error)) if !failing => {
                failing = true;
                tracing::error!(%error, "listen.public_tls cannot be read again; the certificate of before is shown still");
            }
            _ => {}
        }
    }
}

/// A document, or nothing.
async fn document(State(broker): State<Arc<Broker>>, request: Request) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = told(StatusCode::METHOD_NOT_ALLOWED, "this listener only tells");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let Some(found) = broker.public_document(request.uri().path()) else {
        return told(StatusCode::NOT_FOUND, "there is nothing here; see /.well-known/openid-configuration");
    };
    let age = format!("public, max-age={}", found.max_age.as_secs());
    let mut response = Response::new(Body::from(found.body.to_string()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(found.content_type));
    if let Ok(age) = HeaderValue::from_str(&age) {
        headers.insert(header::CACHE_CONTROL, age);
    }
    response
}

fn told(status: StatusCode, detail: &str) -> Response {
    let body = serde_json::json!({ "status": status.as_u16(), "detail": detail }).to_string();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    // A list that a broker does not know yet is there a second later.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_cannot_multiply_its_share_by_its_addresses() {
        let same = |a: &str, b: &str| counted_as(a.parse().unwrap()) == counted_as(b.parse().unwrap());
        assert!(same("2001:db8::1", "2001:db8::ffff:1"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(same("192.0.2.1", "::ffff:192.0.2.1"));
        assert!(!same("::ffff:192.0.2.1", "::ffff:192.0.2.2"));
    }
}
