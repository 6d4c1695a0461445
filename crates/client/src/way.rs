//! The ways to a broker, its API over mTLS and the break-glass socket on its own host; and that to an agent on ours.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use leasehold_identity::{Connector, Identity};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;

use crate::config::Authority;
use crate::connection::causes;
use crate::limits::HEADER_BYTES_MAX;
use crate::{ClientConfig, ClientError};

/// How the broker is reached.
pub(crate) enum Way {
    /// Its API.
    Api { to: Authority, connector: Connector, identity: Arc<Identity> },
    /// A socket on this host: an agent's, or the broker's for root, who says why with every request.
    Socket { socket: PathBuf, reason: Option<HeaderValue> },
}

/// An open HTTP/1.1 connection: where requests go in, and the task that moves the bytes.
pub(crate) type Opened = (SendRequest<Full<Bytes>>, JoinHandle<hyper::Result<()>>);

impl Way {
    pub(crate) fn to_api(config: &ClientConfig) -> Result<Self, ClientError> {
        let to = Authority::parse(&config.addr)?;
        let connector =
            Connector::new(config.identity.clone(), config.broker_id.clone()).with_alpn([b"http/1.1".to_vec()]);
        Ok(Self::Api { to, connector, identity: config.identity.clone() })
    }

    pub(crate) fn break_glass(socket: PathBuf, reason: &str) -> Result<Self, ClientError> {
        let reason = Some(reason.trim()).filter(|reason| !reason.is_empty());
        let reason = reason.and_then(|reason| HeaderValue::from_bytes(reason.as_bytes()).ok());
        let why = "must say, on one line, why the break-glass socket is used";
        Ok(Self::Socket { socket, reason: Some(reason.ok_or_else(|| ClientError::setting("--reason", why))?) })
    }

    pub(crate) fn to_agent(socket: PathBuf) -> Self {
        Self::Socket { socket, reason: None }
    }

    /// Where it leads, for errors and for the header `host`.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::Api { to, .. } => to.to_string(),
            Self::Socket { socket, .. } => socket.display().to_string(),
        }
    }

    pub(crate) fn host(&self) -> String {
        match self {
            Self::Api { to, .. } => to.to_string(),
            Self::Socket { .. } => "localhost".to_owned(),
        }
    }

    /// The header that says why, where one must.
    pub(crate) fn reason(&self) -> Option<&HeaderValue> {
        match self {
            Self::Api { .. } => None,
            Self::Socket { reason, .. } => reason.as_ref(),
        }
    }

    /// Who we are, where that is shown.
    pub(crate) fn identity(&self) -> Option<&Arc<Identity>> {
        match self {
            Self::Api { identity, .. } => Some(identity),
            Self::Socket { .. } => None,
        }
    }

    /// The generation of our identity, by which kept connections are judged.
    pub(crate) fn generation(&self) -> u64 {
        match self {
            Self::Api { identity, .. } => identity.generation(),
            Self::Socket { .. } => 0,
        }
    }

    /// Opens a connection; the time that it may take is bounded by whoever calls.
    pub(crate) async fn open(&self) -> Result<Opened, ClientError> {
        let unreachable = |why: String| ClientError::Unreachable { addr: self.place(), why };
        match self {
            Self::Api { to, connector, .. } => {
                let stream = TcpStream::connect((to.host.as_str(), to.port)).await;
                let stream = stream.map_err(|error| unreachable(error.to_string()))?;
                stream.set_nodelay(true).map_err(|error| unreachable(error.to_string()))?;
                let stream = connector.connect(stream).await.map_err(|refusal| match refusal.reason() {
                    "io" => unreachable(refusal.to_string()),
                    _ => ClientError::Tls {
                        addr: to.to_string(),
                        broker: connector.server_id().to_string(),
                        refusal: Box::new(refusal),
                    },
                })?;
                speak(stream).await.map_err(unreachable)
            }
            Self::Socket { socket, .. } => {
                let stream = UnixStream::connect(socket).await.map_err(|error| unreachable(error.to_string()))?;
                speak(stream).await.map_err(unreachable)
            }
        }
    }

    /// A connection that broke, in words.
    pub(crate) fn broken(&self, why: String) -> ClientError {
        let addr = self.place();
        match self {
            // In TLS 1.3 a client is done before the server has judged it, so a refusal shows as an alert on the first answer.
            Self::Api { identity, .. } if why.contains("received fatal alert") => {
                ClientError::Refused { addr, spiffe_id: identity.spiffe_id().to_string(), why }
            }
            _ => ClientError::Unreachable { addr, why },
        }
    }
}

async fn speak<IO>(stream: IO) -> Result<Opened, String>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let spoken = http1::Builder::new().max_buf_size(HEADER_BYTES_MAX).handshake(TokioIo::new(stream)).await;
    let (send, connection) = spoken.map_err(|error| causes(&error))?;
    Ok((send, tokio::spawn(connection)))
}
