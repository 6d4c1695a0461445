//! A server for whoever asks: its certificate is shown, and none is asked for.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{ALPN_HTTP_1_1, ClientCert, provider};
use crate::clock::WallClock;
use crate::svid::{certify, read_chain};
use crate::{HandshakeError, Identity, IdentityError, files};

/// Accepts connections of anybody, in TLS 1.2 as well: verifiers of the public web are not all new.
pub struct PublicAcceptor(Shown);

/// What is shown.
enum Shown {
    /// The own SVID, always the newest.
    Svid(Arc<Identity>),
    /// A certificate for host names.
    Files { files: ClientCert, now: ArcSwap<CertifiedKey> },
}

impl PublicAcceptor {
    /// One that shows the own SVID.
    pub fn with_svid(identity: Arc<Identity>) -> Self {
        Self(Shown::Svid(identity))
    }

    /// One that shows this certificate.
    ///
    /// # Errors
    /// An [`IdentityError`] that names the file that cannot be used.
    pub fn with_files(files: ClientCert) -> Result<Self, IdentityError> {
        let now = ArcSwap::from_pointee(read(&files)?);
        Ok(Self(Shown::Files { files, now }))
    }

    /// Reads the files again, if it is by files. Blocks on the file system, briefly.
    ///
    /// # Errors
    /// As [`PublicAcceptor::with_files`]; what was shown before is shown still.
    pub fn reload(&self) -> Result<(), IdentityError> {
        if let Shown::Files { files, now } = &self.0 {
            now.store(Arc::new(read(files)?));
        }
        Ok(())
    }

    /// What works and should still be mended: a key that others can read. That of the SVID is for [`Identity::status`] to tell.
    pub fn warning(&self) -> Option<String> {
        match &self.0 {
            Shown::Files { files: ClientCert { key, .. }, .. } if files::others_may_read(key) => {
                Some(format!("the private key {} can be read by others than its owner", key.display()))
            }
            _ => None,
        }
    }

    /// Does one handshake. There is no time limit in here.
    ///
    /// # Errors
    /// A [`HandshakeError`].
    pub async fn accept<IO>(&self, io: IO) -> Result<TlsStream<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let key = match &self.0 {
            Shown::Svid(identity) => {
                let snapshot = identity.snapshot();
                Arc::clone(&snapshot.svid().map_err(|e| HandshakeError::tls(&e))?.certified)
            }
            Shown::Files { now, .. } => now.load_full(),
        };
        let config = config(key).map_err(|e| HandshakeError::tls(&e))?;
        Ok(TlsAcceptor::from(config).accept(io).await?)
    }
}

fn config(key: Arc<CertifiedKey>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_details(Arc::clone(provider()), Arc::new(WallClock))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![ALPN_HTTP_1_1.to_vec()];
    Ok(Arc::new(config))
}

fn read(files: &ClientCert) -> Result<CertifiedKey, IdentityError> {
    certify(&files.cert, &files.key, read_chain(&files.cert)?)
}
