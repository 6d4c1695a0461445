//! The server side.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::chain::{self, Usage};
use crate::{HandshakeError, Identity, Peer, clock};

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
        let acceptor = TlsAcceptor::from(Arc::clone(&snapshot.server));
        let stream = acceptor.accept(io).await?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        // The verifier has passed this chain a moment ago. It is verified once more, and not only read, so that no `Peer` can
        // come from a certificate that the rules did not pass, whatever rustls does in between.
        let verified = chain::verify(chain, &snapshot.bundles, clock::now_unix_ms(), Usage::Client)
            .map_err(|refusal| HandshakeError::svid(refusal.error, refusal.claimed))?;
        let peer = Peer::new(verified, chain);
        Ok((stream, peer))
    }
}
