//! TLS to the server, by the words of libpq's `sslmode`.

use std::path::Path;
use std::sync::Arc;

use leasehold_pglink::{Tls, TlsMode};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{self, CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Stream;

/// `SSLRequest`: its length and its code (PostgreSQL documentation, "Message Formats").
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// Asks the server for TLS as the settings say, and does it.
///
/// # Errors
/// Why there is no such connection.
pub(super) async fn secure(mut tcp: TcpStream, tls: &Tls, host: &str) -> Result<Box<dyn Stream>, String> {
    if tls.mode == TlsMode::Disable {
        return Ok(Box::new(tcp));
    }
    tcp.write_all(&SSL_REQUEST).await.map_err(|e| e.to_string())?;
    // One byte and no more: what else came in clear text would be somebody else's (CVE-2021-23222).
    match tcp.read_u8().await.map_err(|e| e.to_string())? {
        b'S' => {}
        b'N' if tls.mode == TlsMode::Prefer => return Ok(Box::new(tcp)),
        b'N' => return Err("the server does not support TLS".into()),
        _ => return Err("the server answers neither yes nor no when it is asked for TLS".into()),
    }
    let name = ServerName::try_from(host.to_owned()).map_err(|e| format!("the host is no name for TLS: {e}"))?;
    let connector = TlsConnector::from(Arc::new(client_config(tls)?));
    let stream = connector.connect(name, tcp).await.map_err(|e| format!("TLS: {e}"))?;
    Ok(Box::new(stream))
}

fn client_config(tls: &Tls) -> Result<ClientConfig, String> {
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier(tls, &provider)?);
    match &tls.client {
        None => Ok(config.with_no_client_auth()),
        Some((cert, key)) => {
            let key = PrivateKeyDer::from_pem_file(key).map_err(|e| unusable(key, e))?;
            config.with_client_auth_cert(certificates(cert)?, key).map_err(|e| format!("our certificate: {e}"))
        }
    }
}

fn verifier(tls: &Tls, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, String> {
    if !tls.mode.verifies() {
        return Ok(Arc::new(Anybody(provider.clone())));
    }
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        // The CA that was named, and no other beside it.
        Some(ca) => {
            for certificate in certificates(ca)? {
                roots.add(certificate).map_err(|e| unusable(ca, e))?;
            }
        }
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    let verifier = built.map_err(|e| format!("the CA certificates cannot be used: {e}"))?;
    Ok(match tls.mode {
        TlsMode::VerifyFull => verifier,
        _ => Arc::new(AnyName(verifier)),
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let certificates: Vec<_> = read.map_err(|e| unusable(path, e))?;
    if certificates.is_empty() { Err(unusable(path, "it holds no certificate")) } else { Ok(certificates) }
}

fn unusable(path: &Path, why: impl std::fmt::Display) -> String {
    format!("{}: {why}", path.display())
}

/// Encrypted, whoever it is.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
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
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Of the CA, under any name.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use CertificateError::{NotValidForName, NotValidForNameContext};
        match self.0.verify_server_cert(leaf, chain, name, ocsp, now) {
            // The name is looked at last: all else was good.
            Err(rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. })) => {
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
