//! TLS clients that no good client is: without a certificate, hoping to resume, of an older version.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use rustls::{ClientConfig, DigitallySignedStruct, HandshakeKind, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use leasehold_testkit::Svid;

use crate::ground::Line;

/// A TLS client that believes every server and remembers sessions.
pub struct Stranger(TlsConnector);

/// What a handshake of a [`Stranger`] came to.
pub struct Greeting {
    /// The connection.
    pub line: Line,
    /// The protocol that was agreed on (ALPN).
    pub alpn: Option<String>,
    /// Whether a session was resumed.
    pub resumed: bool,
}

impl Stranger {
    /// Without a certificate, or with this one; offers these protocols.
    pub fn new(svid: Option<&Svid>, alpn: &[&str]) -> Self {
        let provider = Arc::new(default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Believer(provider)));
        let mut config = match svid {
            None => builder.with_no_client_auth(),
            Some(svid) => {
                let certs = CertificateDer::pem_file_iter(&svid.cert).expect("the file").map(|c| c.expect("PEM"));
                let key = PrivateKeyDer::from_pem_file(&svid.key).expect("a key");
                builder.with_client_auth_cert(certs.collect(), key).expect("a certificate with its key")
            }
        };
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Self(TlsConnector::from(Arc::new(config)))
    }

    /// Shakes hands.
    pub async fn greet(&self, to: SocketAddr) -> std::io::Result<Greeting> {
        let tcp = TcpStream::connect(to).await?;
        let name = ServerName::from(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let tls = self.0.connect(name, tcp).await?;
        let session = tls.get_ref().1;
        let alpn = session.alpn_protocol().map(|p| String::from_utf8_lossy(p).into_owned());
        let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        Ok(Greeting { alpn, resumed, line: Line::over(tls) })
    }
}

#[derive(Debug)]
struct Believer(Arc<CryptoProvider>);

impl ServerCertVerifier for Believer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The first message of a client that knows TLS 1.2 and nothing newer (RFC 5246 7.4.1.2), as it goes over the wire.
pub fn hello_of_tls_1_2() -> Vec<u8> {
    // Version 1.2, 32 bytes for a random number, no session.
    let mut hello = vec![3, 3];
    hello.extend([7; 32]);
    hello.push(0);
    // ECDHE with ECDSA and AES-128-GCM; no compression.
    hello.extend([0, 2, 0xc0, 0x2b, 1, 0]);
    // Groups: P-256. Signatures: ECDSA with P-256 and SHA-256.
    let extensions = [0, 10, 0, 4, 0, 2, 0, 23, 0, 13, 0, 4, 0, 2, 4, 3];
    hello.extend([0, u8::try_from(extensions.len()).expect("short")]);
    hello.extend(extensions);
    let length = u8::try_from(hello.len()).expect("short");
    let mut record = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(hello);
    record
}
