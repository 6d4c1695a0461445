//! Connections that are served: HTTP/1.1 to a router, each in a task of its own, until the listener is told to stop.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower::ServiceExt;

/// What is read of a request's headers unless said otherwise.
const HEADER_BYTES_DEFAULT: usize = 16 * 1024;

/// How long a listener rests when the system has no connection to give.
const REST: Duration = Duration::from_millis(50);

/// Those of one listener on this host.
pub struct Connections {
    router: Router,
    stop: watch::Receiver<bool>,
    tasks: JoinSet<()>,
}

/// How one of them is served.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Time to read a request's headers, and to sit idle.
    pub header_time_max: Duration,
    /// Whether it is kept for more than one request.
    pub keep_alive: bool,
    /// Size of a request's headers.
    pub header_bytes_max: usize,
    /// Age at which it is asked to close.
    pub age_max: Duration,
}

impl Manner {
    /// For those who may stay as long as they like.
    pub const fn lasting(header_time_max: Duration, keep_alive: bool) -> Self {
        Self { header_time_max, keep_alive, header_bytes_max: HEADER_BYTES_DEFAULT, age_max: Duration::MAX }
    }
}

impl Connections {
    /// None yet.
    pub fn new(router: Router, stop: watch::Receiver<bool>) -> Self {
        Self { router, stop, tasks: JoinSet::new() }
    }

    /// The next that `accept` gives; `None` once the listener is to stop.
    pub async fn next<T, F: Future<Output = io::Result<T>>>(&mut self, accept: impl Fn() -> F) -> Option<T> {
        while !*self.stop.borrow() {
            tokio::select! {
                accepted = accept() => match accepted {
                    Ok(accepted) => return Some(accepted),
                    Err(_) => tokio::time::sleep(REST).await,
                },
                Some(_) = self.tasks.join_next() => {}
                _ = self.stop.changed() => {}
            }
        }
        None
    }

    /// Serves one, if there is a place for it; else it is closed. Each of its requests has `other` among its extensions: who is on
    /// the other side.
    pub fn take<IO, T>(&mut self, stream: IO, places: &Arc<Semaphore>, manner: Manner, other: T)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: Clone + Send + Sync + 'static,
    {
        self.take_opened(async { Some((stream, other)) }, places, manner);
    }

    /// The same for one that is opened first, such as by a handshake; `None`: it was not. Its place is taken meanwhile.
    pub fn take_opened<IO, T, F>(&mut self, opening: F, places: &Arc<Semaphore>, manner: Manner)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: Clone + Send + Sync + 'static,
        F: Future<Output = Option<(IO, T)>> + Send + 'static,
    {
        let Ok(place) = places.clone().try_acquire_owned() else { return };
        let (router, mut stop) = (self.router.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            let Some((stream, other)) = opening.await else { return };
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(manner.header_time_max).keep_alive(manner.keep_alive);
            http.max_buf_size(manner.header_bytes_max);
            let told = async {
                tokio::select! {
                    _ = stop.wait_for(|stop| *stop) => {}
                    () = tokio::time::sleep(manner.age_max) => {}
                }
            };
            let introduce = move |request: &mut Request<Body>| drop(request.extensions_mut().insert(other.clone()));
            if let Err(e) = serve(&http, stream, router, introduce, told).await {
                tracing::debug!(error = %e, "a connection ended badly");
            }
            drop(place);
        });
    }

    /// Waits for those under way, this long at most.
    pub async fn drain(mut self, max: Duration) {
        let all_done = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(max, all_done).await;
    }
}

/// Serves one to its end, or until it is `told` to end, and then what is under way. `introduce` sees each request first.
///
/// # Errors
/// Why it broke.
pub async fn serve<IO>(
    http: &http1::Builder,
    stream: IO,
    router: Router,
    introduce: impl Fn(&mut Request<Body>),
    told: impl Future<Output = ()>,
) -> hyper::Result<()>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let service = hyper::service::service_fn(|request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        introduce(&mut request);
        let router = router.clone();
        async move { Ok::<_, Infallible>(router.oneshot(request).await.unwrap_or_else(|never| match never {})) }
    });
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        result = connection.as_mut() => result,
        () = told => {
            connection.as_mut().graceful_shutdown();
            connection.as_mut().await
        }
    }
}
