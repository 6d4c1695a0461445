//! The agent's socket: consumers of this host ask for credentials and acknowledge them. The kernel says who is on the other
//! side, and only the users that the configuration names are answered.

mod aws;
mod hosts;
mod loopback;
mod routes;
mod token_file;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, watch};

use super::acks::Speaker;
use super::config::SocketConfig;
use super::supply::Supplies;
use crate::connections::{Connections, Manner};
use crate::socket::Socket;

pub use loopback::Loopback;

/// Connections at once: a host's services, each with a long poll or two.
const CONNECTIONS_MAX: usize = 256;
/// How each is served.
const MANNER: Manner = Manner::lasting(Duration::from_secs(60), true);
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
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let places = places();
        let mut connections = Connections::new(self.router.clone(), stop);
        while let Some((stream, _)) = connections.next(|| self.socket.listener.accept()).await {
            // Closed at once else: nobody is owed a word whom the configuration does not name.
            if let Some(speaker) = self.knows(&stream) {
                connections.take(stream, &places, MANNER, speaker);
            }
        }
        connections.drain(DRAIN_TIME_MAX).await;
    }

    fn knows(&self, stream: &UnixStream) -> Option<Speaker> {
        let other = stream.peer_cred().ok()?;
        if self.uids.contains(&other.uid()) {
            return Some(Speaker::User(other.uid()));
        }
        tracing::warn!(
            uid = other.uid(),
            pid = other.pid(),
            "somebody who is not named in socket.uids was turned away"
        );
        None
    }
}

fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(CONNECTIONS_MAX))
}
