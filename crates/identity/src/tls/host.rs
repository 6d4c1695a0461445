//! TLS to servers that have a host name and no SPIFFE ID: collectors of audit lines.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::provider;
use crate::IdentityError;
use crate::clock::WallClock;
use crate::svid::{certify, read_chain};

/// How a server is known by its host name, and what is shown to it. The files are read for each connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostTls {
    /// CA certificates in PEM, and no others beside them; `None`: those of the public web.
    pub ca: Option<PathBuf>,
    /// A client certificate, leaf first, and its key, both in PEM.
    pub client: Option<ClientCert>,
}

/// A client certificate that is no SVID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCert {
    /// The leaf, followed by its intermediates if there are any.
    pub cert: PathBuf,
    /// The private key: PKCS#8, SEC1 or PKCS#1.
    pub key: PathBuf,
}

/// There is no such connection.
#[derive(Debug, thiserror::Error)]
pub enum HostTlsError {
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] IdentityError),
    /// The certificates of the file cannot be used.
    #[error("{path}: {why}")]
    Ca {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The host is no name that a certificate can have.
    #[error("{host} is no host name")]
    Name {
        /// What it is.
        host: String,
    },
    /// The handshake failed.
    #[error("TLS: {0}")]
    Handshake(#[from] std::io::Error),
    /// The library refuses.
    #[error("TLS: {0}")]
    Library(#[from] rustls::Error),
}

impl HostTls {
    /// Does one handshake. There is no time limit in here. In TLS 1.3 a refusal of our own certificate shows only at the first
    /// read.
    ///
    /// # Errors
    /// See [`HostTlsError`].
    pub async fn connect<IO>(&self, host: &str, io: IO) -> Result<TlsStream<IO>, HostTlsError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| HostTlsError::Name { host: host.to_owned() })?;
        Ok(TlsConnector::from(Arc::new(self.config()?)).connect(name, io).await?)
    }

    fn config(&self) -> Result<ClientConfig, HostTlsError> {
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(self.roots()?), Arc::clone(provider()));
        let verifier = verifier.build().map_err(|e| HostTlsError::Library(rustls::Error::General(e.to_string())))?;
        let config = ClientConfig::builder_with_details(Arc::clone(provider()), Arc::new(WallClock))
            .with_safe_default_protocol_versions()?
            .with_webpki_verifier(verifier);
        let mut config = match &self.client {
            None => config.with_no_client_auth(),
            Some(ClientCert { cert, key }) => {
                let certified = certify(cert, key, read_chain(cert)?)?;
                config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::new(certified))))
            }
        };
        // Each connection shows that the server has its key still.
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    fn roots(&self) -> Result<RootCertStore, HostTlsError> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Some(path) => {
                for certificate in read_chain(path)? {
                    roots.add(certificate).map_err(|e| HostTlsError::Ca { path: path.clone(), why: e.to_string() })?;
                }
            }
        }
        Ok(roots)
    }
}
