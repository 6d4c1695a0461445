//! The agent's socket: consumers of this host ask for credentials and acknowledge them. The kernel says who is on the other
//! side, and only the users that the configuration names are answered.

mod loopback;
mod routes;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower::ServiceExt;

use super::config::SocketConfig;
use super::supply::Supplies;
use crate::socket::Socket;

pub use loopback::Loopback;

/// Connections at once: a host's services, each with a long poll or two.
const CONNECTIONS_MAX: usize = 256;
/// Time to read a request's headers, and for a connection to sit idle.
const HEADER_TIME_MAX: Duration = Duration::from_secs(60);
/// How long the loop rests when the system has no connection to give.
const REST: Duration = Duration::from_millis(50);
/// How long those under way may take once it is to stop.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(3);
/// Everybody may connect: who is answered is decided by who it is, which the file's mode cannot say.
const MODE: u32 = 0o666;

/// The bound socket, not yet serving.
pub struct Server {
    socket: Socket,
    uids: Arc<BTreeSet<u32>>,
    router: Router,
}

impl Server {
    /// Binds it.
    ///
    /// # Errors
    /// As [`Socket::bind`].
    pub async fn bind(config: &SocketConfig, supplies: Arc<Supplies>) -> anyhow::Result<Self> {
        let socket = Socket::bind("socket", &config.path, MODE).await?;
        tracing::info!(socket = %socket.path().display(), uids = ?config.uids, "credentials can be asked for");
        Ok(Self { socket, uids: Arc::new(config.uids.clone()), router: routes::router(supplies) })
    }

    /// Serves until told to stop.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut connections = Connections::new(self.router.clone(), stop.clone());
        while !*stop.borrow() {
            tokio::select! {
                accepted = self.socket.listener.accept() => match accepted {
                    Ok((stream, _)) if self.knows(&stream) => connections.take(Some(stream)).await,
                    // Closed at once: nobody is owed a word whom the configuration does not name.
                    Ok(_) => {}
                    Err(_) => connections.take(None::<UnixStream>).await,
                },
                () = connections.one_ends() => {}
                _ = stop.changed() => {}
            }
        }
        connections.drain().await;
    }

    fn knows(&self, stream: &UnixStream) -> bool {
        let Ok(other) = stream.peer_cred() else { return false };
        let known = self.uids.contains(&other.uid());
        if !known {
            tracing::warn!(
                uid = other.uid(),
                pid = other.pid(),
                "somebody who is not named in socket.uids was turned away"
            );
        }
        known
    }
}

/// The connections of one listener, each a task.
struct Connections {
    router: Router,
    stop: watch::Receiver<bool>,
    places: Arc<Semaphore>,
    tasks: JoinSet<()>,
}

impl Connections {
    fn new(router: Router, stop: watch::Receiver<bool>) -> Self {
        Self { router, stop, places: Arc::new(Semaphore::new(CONNECTIONS_MAX)), tasks: JoinSet::new() }
    }

    /// Serves one, if there is room; rests a little where the system had none to give.
    async fn take<IO>(&mut self, stream: Option<IO>)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(stream) = stream else { return tokio::time::sleep(REST).await };
        let Ok(place) = self.places.clone().try_acquire_owned() else { return };
        let (router, stop) = (self.router.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            serve(stream, router, stop).await;
            drop(place);
        });
    }

    /// For ever while there are none.
    async fn one_ends(&mut self) {
        if self.tasks.join_next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    async fn drain(mut self) {
        let all_done = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(DRAIN_TIME_MAX, all_done).await;
    }
}

async fn serve<IO>(stream: IO, router: Router, mut stop: watch::Receiver<bool>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let router = router.clone();
        let request = request.map(Body::new);
        async move { Ok::<_, Infallible>(router.oneshot(request).await.unwrap_or_else(|never| match never {})) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME_MAX)
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
        tracing::debug!(error = %e, "a connection to the agent ended badly");
    }
}
