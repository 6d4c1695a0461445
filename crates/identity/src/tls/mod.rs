//! The two sides of mTLS. TLS 1.3 only, both certificates demanded, no resumption: a resumed session would skip the check
//! of the certificate.

mod acceptor;
mod anonymous;
mod connector;
mod host;
mod public;
mod verifier;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};

use rustls::client::WantsClientCert;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, ConfigBuilder, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub use acceptor::Acceptor;
pub use anonymous::{AnonymousConnector, AnonymousError, ServerBundle};
pub use connector::Connector;
pub use host::{ClientCert, HostTls, HostTlsError};
pub use public::PublicAcceptor;

use crate::chain::Bundles;
use crate::clock::WallClock;
use crate::svid::OwnSvid;
use crate::{HandshakeError, SpiffeId};
use verifier::{ClientVerifier, ServerVerifier};

const ALPN_HTTP_1_1: &[u8] = b"http/1.1";

/// rustls wants some name; an address is never sent and our verifier does not look at it.
fn no_name() -> ServerName<'static> {
    ServerName::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

/// The one cryptography provider. Passed explicitly everywhere: the process-wide default is for others to set or not.
pub(crate) fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    &PROVIDER
}

/// Made anew for each connection, which costs microseconds: so the verifier belongs to one handshake and can hand on what it found.
fn server_config(svid: &OwnSvid, verifier: Arc<ClientVerifier>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let resolver = SingleCertAndKey::from(Arc::clone(&svid.certified));
    let mut config = ServerConfig::builder_with_details(Arc::clone(provider()), Arc::new(WallClock))
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(resolver));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    // No HTTP/2: there a flush proves nothing about one answer, and whether a credential was delivered must be known.
    config.alpn_protocols = vec![ALPN_HTTP_1_1.to_vec()];
    Ok(Arc::new(config))
}

fn client_config(
    svid: &OwnSvid,
    bundles: &Arc<Bundles>,
    server: &SpiffeId,
    alpn: &[Vec<u8>],
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let resolver = SingleCertAndKey::from(Arc::clone(&svid.certified));
    let config = to_workload(bundles, server)?.with_client_cert_resolver(Arc::new(resolver));
    // Servers are known by their SPIFFE ID; a host name would tell the network something for nothing.
    Ok(finish(config, alpn))
}

/// Does one handshake with a workload that need not know who asks: a bundle endpoint.
pub(crate) async fn connect_unknown<IO>(
    io: IO,
    bundles: &Arc<Bundles>,
    server: &SpiffeId,
) -> Result<TlsStream<IO>, HandshakeError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let config = to_workload(bundles, server).map_err(|e| HandshakeError::tls(&e))?.with_no_client_auth();
    let config = finish(config, &[ALPN_HTTP_1_1.to_vec()]);
    Ok(TlsConnector::from(config).connect(no_name(), io).await?)
}

fn to_workload(
    bundles: &Arc<Bundles>,
    server: &SpiffeId,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, rustls::Error> {
    let verifier = ServerVerifier::new(Arc::clone(bundles), server.clone());
    Ok(ClientConfig::builder_with_details(Arc::clone(provider()), Arc::new(WallClock))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier)))
}

fn finish(mut config: ClientConfig, alpn: &[Vec<u8>]) -> Arc<ClientConfig> {
    config.resumption = rustls::client::Resumption::disabled();
    config.enable_early_data = false;
    config.enable_sni = false;
    config.alpn_protocols = alpn.to_vec();
    Arc::new(config)
}
