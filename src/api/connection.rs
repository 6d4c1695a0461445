//! One connection: HTTP/1.1 over mTLS, as long as its peer is good and it is not too old.
//!
//! Not HTTP/2: there a flush proves nothing about one answer, and whether a credential was delivered must be known.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::Request;
use hyper::server::conn::http1;
use hyper_util::rt::TokioTimer;
use leasehold_identity::Peer;
use leasehold_sdk::{Timestamp, clock};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_io_timeout::TimeoutStream;

use super::delivery::{Deliveries, Watched};
use super::front::Front;
use crate::connections;
use crate::limits::Limits;

/// The limits of one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConnectionLimits {
    header_bytes: usize,
    header_time: Duration,
    unread_time: Duration,
    age: Duration,
}

impl ConnectionLimits {
    pub(super) fn of(limits: &Limits) -> Self {
        Self {
            // The limit begins where the HTTP library's does: it takes no buffer smaller than 8 KiB.
            header_bytes: usize::try_from(limits.header_bytes_max).unwrap_or(usize::MAX),
            header_time: Duration::from_secs(limits.header_seconds_max),
            unread_time: Duration::from_secs(limits.unread_seconds_max),
            age: Duration::from_secs(limits.connection_seconds_max),
        }
    }
}

/// Serves one connection to its end.
pub(super) async fn serve<IO>(front: Arc<Front>, io: IO, peer: Peer, mut stop: watch::Receiver<bool>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let deliveries = Deliveries::default();
    let age_max = time_left(&peer).min(front.limits.age);
    // Whoever reads nothing would keep what is written for it, and its place, for ever.
    let mut io = TimeoutStream::new(io);
    io.set_write_timeout(Some(front.limits.unread_time));
    let io = Watched::new(Box::pin(io), deliveries.clone());
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(front.limits.header_time).max_buf_size(front.limits.header_bytes);
    let introduce = |request: &mut Request<Body>| {
        deliveries.next_request();
        request.extensions_mut().insert(peer.clone());
        request.extensions_mut().insert(deliveries.clone());
    };
    let told = async {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => {}
            () = tokio::time::sleep(age_max) => {}
        }
    };
    front.metrics.connection_opened();
    let result = connections::serve(&http, io, front.router.clone(), introduce, told).await;
    if let Err(e) = result {
        tracing::debug!(error = %e, "a connection ended badly");
    }
    deliveries.connection_ended();
    front.metrics.connection_closed();
}

/// How long the peer's certificate is still good.
fn time_left(peer: &Peer) -> Duration {
    Timestamp::from_unix_ms(peer.not_after_unix_ms).since(clock::wall())
}
