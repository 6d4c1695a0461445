//! The server side.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::server_config;
use super::verifier::ClientVerifier;
use crate::{HandshakeError, Identity, Peer};

/// Accepts mTLS connections of workloads. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Acceptor {
    identity: Arc<Identity>,
}

impl Acceptor {
    pub(crate) fn new(identity: Arc<Identity>) -> Self {
        Self { identity }
    }

    /// Does one handshake, by the newest SVID and bundles, and says who the peer is. Any workload with a good SVID of any
    /// configured trust domain is let in; what it may do is decided per request.
    ///
    /// There is no time limit in here: set one around it, and drop the future to give up.
    ///
    /// # Errors
    /// A [`HandshakeError`]; the peer has then been sent a TLS alert.
    pub async fn accept<IO>(&self, io: IO) -> Result<(TlsStream<IO>, Peer), HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let snapshot = self.identity.snapshot();
        let verifier = Arc::new(ClientVerifier::new(Arc::clone(&snapshot.bundles)));
        let config = snapshot
            .svid()
            .and_then(|svid| server_config(svid, Arc::clone(&verifier)))
            .map_err(|e| HandshakeError::tls(&e))?;
        let result = TlsAcceptor::from(config).accept(io).await;
        let stream = match (result, verifier.found()) {
            (_, Some(Err(refusal))) => return Err(HandshakeError::svid(refusal)),
            (Err(error), _) => return Err(error.into()),
            (Ok(stream), _) => stream,
        };
        // Only what the verifier passed makes a peer.
        let Some(Ok(verified)) = verifier.found() else {
            return Err(HandshakeError::tls(&rustls::Error::NoCertificatesPresented));
        };
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let peer = Peer::new(verified, chain);
        Ok((stream, peer))
    }
}
