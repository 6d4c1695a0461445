//! The client side towards one workload that need not know who asks: the public listener of a broker.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::client::TlsStream;

use super::connect_unknown;
use crate::bundle::{DomainBundle, TrustBundle};
use crate::chain::Bundles;
use crate::limits::BUNDLE_FILE_BYTES_MAX;
use crate::{HandshakeError, Identity, IdentityError, SpiffeId, clock, files};

/// Connects to one server, known by its SPIFFE ID, and shows no certificate. Host names play no part.
#[derive(Clone, Debug)]
pub struct AnonymousConnector {
    server: SpiffeId,
    bundle: ServerBundle,
}

/// What verifies the server.
#[derive(Clone, Debug)]
pub enum ServerBundle {
    /// The bundles of an identity, as they are at each connection.
    Of(Arc<Identity>),
    /// The bundle of the server's trust domain in a file, PEM or SPIFFE JWKS, read for each connection.
    File(PathBuf),
}

/// There is no such connection.
#[derive(Debug, thiserror::Error)]
pub enum AnonymousError {
    /// The bundle cannot be used.
    #[error(transparent)]
    Bundle(#[from] IdentityError),
    /// The handshake failed.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
}

impl AnonymousConnector {
    /// A connector that accepts the server `server` only, by its exact ID.
    pub fn new(server: SpiffeId, bundle: ServerBundle) -> Self {
        Self { server, bundle }
    }

    /// Who the server must be.
    pub fn server_id(&self) -> &SpiffeId {
        &self.server
    }

    /// Does one handshake. There is no time limit in here.
    ///
    /// # Errors
    /// See [`AnonymousError`].
    pub async fn connect<IO>(&self, io: IO) -> Result<TlsStream<IO>, AnonymousError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let bundles = match &self.bundle {
            ServerBundle::Of(identity) => Arc::clone(&identity.snapshot().bundles),
            ServerBundle::File(path) => {
                let (server, path) = (self.server.clone(), path.clone());
                let read = tokio::task::spawn_blocking(move || read(&server, path)).await;
                read.map_err(|e| HandshakeError::tls(&rustls::Error::General(e.to_string())))??
            }
        };
        Ok(connect_unknown(io, &bundles, &self.server).await?)
    }
}

fn read(server: &SpiffeId, path: PathBuf) -> Result<Arc<Bundles>, IdentityError> {
    let domain = server.trust_domain();
    let content = files::read(&path, BUNDLE_FILE_BYTES_MAX)?.to_vec();
    let bundle = TrustBundle::parse(&content, clock::now_unix_ms());
    let bundle = bundle.map_err(|source| IdentityError::BadBundle { trust_domain: domain.clone(), path, source })?;
    let bundle = Arc::new(DomainBundle { bundle, generation: 0, content });
    Ok(Arc::new(Bundles::from([(domain.clone(), bundle)])))
}
