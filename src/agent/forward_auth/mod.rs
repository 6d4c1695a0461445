//! Verdicts on tokens for services in any language: a proxy in front of the service asks here for each request (nginx
//! `auth_request`, Envoy `ext_authz` over HTTP), and lets through what is answered with 200.
//!
//! What is wanted of a token is said by the proxy's configuration, never by its client. A client's certificate is what a
//! proxy says that it has seen, so it counts from proxies alone that have proved who they are.

mod answer;
mod certificate;
mod routes;
mod wanted;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use leasehold_client::token::{IssuerTls, KeySource, ServerBundle};
use leasehold_identity::{Acceptor, Identity, Peer, SpiffeId};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use super::config::{ForwardAuthConfig, KeysFrom, ListenOn};
use crate::connections::{Connections, Manner};
use crate::socket::Socket;
use routes::Verdicts;

/// Connections at once: proxies keep theirs.
const CONNECTIONS_MAX: usize = 1024;
/// How each is served.
const MANNER: Manner = Manner::lasting(Duration::from_secs(60), true);
/// Time for a handshake.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(5);
/// How long those under way may take once it is to stop.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(3);
/// A verdict is no secret: whoever can reach the socket's directory may ask.
const SOCKET_MODE: u32 = 0o666;

/// One place where verdicts are given: bound, not yet serving.
pub struct ForwardAuth {
    listener: Listener,
    /// Where proxies must prove who they are.
    acceptor: Option<Acceptor>,
    verdicts: Arc<Verdicts>,
}

enum Listener {
    Port(TcpListener),
    Socket(Socket),
}

/// Who asks.
#[derive(Debug, Clone)]
enum Asker {
    /// Somebody on this host, of whom nothing is known.
    Anybody,
    /// Somebody with an SVID.
    Peer(Peer),
}

impl ForwardAuth {
    /// Binds it.
    ///
    /// # Errors
    /// When it cannot listen there.
    pub async fn bind(config: ForwardAuthConfig, identity: &Arc<Identity>, broker: &SpiffeId) -> anyhow::Result<Self> {
        let keys = match &config.keys {
            KeysFrom::Broker => {
                let bundle = ServerBundle::Of(identity.clone());
                KeySource::Issuer(IssuerTls::Broker { id: broker.clone(), bundle })
            }
            KeysFrom::Web(ca) => KeySource::Issuer(IssuerTls::Web { ca: ca.clone() }),
            KeysFrom::Folder(folder) => KeySource::Folder(folder.clone()),
        };
        let verifier = config.verifier(keys).context("forward_auth")?;
        let listener = match &config.listen {
            ListenOn::Port(addr) => {
                let listener = TcpListener::bind(addr).await.with_context(|| format!("forward_auth.listen {addr}"))?;
                tracing::info!(verdicts = %listener.local_addr()?, "proxies can ask for verdicts on tokens");
                Listener::Port(listener)
            }
            ListenOn::Socket(path) => {
                let socket = Socket::bind("forward_auth.listen", path, SOCKET_MODE).await?;
                tracing::info!(verdicts = %socket.path().display(), "proxies can ask for verdicts on tokens");
                Listener::Socket(socket)
            }
        };
        let acceptor = (!config.trusted_proxies.is_empty()).then(|| identity.acceptor());
        Ok(Self { listener, acceptor, verdicts: Arc::new(Verdicts::new(verifier, config, identity.clone())) })
    }

    /// Serves until told to stop.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = Connections::new(routes::router(self.verdicts), stop);
        match &self.listener {
            Listener::Port(listener) => {
                while let Some((stream, _)) = connections.next(|| listener.accept()).await {
                    // Small answers go out at once.
                    let _ = stream.set_nodelay(true);
                    take(&mut connections, stream, &places, self.acceptor.as_ref());
                }
            }
            Listener::Socket(socket) => {
                while let Some((stream, _)) = connections.next(|| socket.listener.accept()).await {
                    take(&mut connections, stream, &places, self.acceptor.as_ref());
                }
            }
        }
        connections.drain(DRAIN_TIME_MAX).await;
    }
}

fn take<IO>(connections: &mut Connections, stream: IO, places: &Arc<Semaphore>, acceptor: Option<&Acceptor>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Some(acceptor) = acceptor.cloned() else {
        return connections.take(stream, places, MANNER, Asker::Anybody);
    };
    let opening = async move {
        match tokio::time::timeout(HANDSHAKE_TIME_MAX, acceptor.accept(stream)).await {
            Ok(Ok((stream, peer))) => Some((stream, Asker::Peer(peer))),
            Ok(Err(refused)) => {
                tracing::warn!(reason = refused.reason(), error = %refused, "a proxy's TLS handshake was refused");
                None
            }
            Err(_) => None,
        }
    };
    connections.take_opened(opening, places, MANNER);
}
