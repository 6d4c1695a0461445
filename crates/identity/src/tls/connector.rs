//! The client side.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{ALPN_HTTP_1_1, client_config, no_name};
use crate::{HandshakeError, Identity, SpiffeId};

/// Connects to one server, known by its SPIFFE ID. Host names play no part.
#[derive(Debug)]
pub struct Connector {
    identity: Arc<Identity>,
    server: SpiffeId,
    alpn: Vec<Vec<u8>>,
    /// The configuration of one generation, made when it is first needed.
    config: ArcSwapOption<(u64, Arc<ClientConfig>)>,
}

impl Connector {
    /// A connector that shows the SVID of `identity` and accepts the server `server` only, by its exact ID.
    /// Offers HTTP/1.1 unless told otherwise.
    pub fn new(identity: Arc<Identity>, server: SpiffeId) -> Self {
        Self { identity, server, alpn: vec![ALPN_HTTP_1_1.to_vec()], config: ArcSwapOption::empty() }
    }

    /// Offers these protocols (ALPN, RFC 7301), most wanted first.
    #[must_use]
    pub fn with_alpn(mut self, protocols: impl IntoIterator<Item = Vec<u8>>) -> Self {
        self.alpn = protocols.into_iter().collect();
        self.config = ArcSwapOption::empty();
        self
    }

    /// Who the server must be.
    pub fn server_id(&self) -> &SpiffeId {
        &self.server
    }

    /// Does one handshake, by the newest SVID and bundles. There is no time limit in here.
    ///
    /// In TLS 1.3 the client is done before the server has judged the client's certificate: a refusal by the server shows as
    /// an error of the first read.
    ///
    /// # Errors
    /// A [`HandshakeError`], with the reason `wrong_server_id` for a good SVID of somebody else.
    pub async fn connect<IO>(&self, io: IO) -> Result<TlsStream<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self.config().map_err(|e| HandshakeError::tls(&e))?;
        Ok(TlsConnector::from(config).connect(no_name(), io).await?)
    }

    fn config(&self) -> Result<Arc<ClientConfig>, rustls::Error> {
        let snapshot = self.identity.snapshot();
        if let Some(made) = &*self.config.load()
            && made.0 == snapshot.generation
        {
            return Ok(Arc::clone(&made.1));
        }
        let config = client_config(snapshot.svid()?, &snapshot.bundles, &self.server, &self.alpn)?;
        let made = (snapshot.generation, Arc::clone(&config));
        self.config.store(Some(Arc::new(made)));
        Ok(config)
    }
}
