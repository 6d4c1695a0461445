//! The certificate verifiers that rustls calls, one for each side.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::verify_tls13_signature;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::provider;
use crate::chain::{self, Bundles, Usage, Verified};
use crate::error::Refusal;
use crate::{SpiffeId, SvidError};

/// Verifies one client in one handshake, and keeps what it found.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    bundles: Arc<Bundles>,
    found: OnceLock<Result<Verified, Refusal>>,
}

/// Verifies servers: they must be exactly one SPIFFE ID.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    bundles: Arc<Bundles>,
    expected: SpiffeId,
}

impl ClientVerifier {
    pub(super) fn new(bundles: Arc<Bundles>) -> Self {
        Self { bundles, found: OnceLock::new() }
    }

    /// What was found of the client's certificate; nothing if it showed none.
    pub(super) fn found(&self) -> Option<&Result<Verified, Refusal>> {
        self.found.get()
    }
}

impl ServerVerifier {
    pub(super) fn new(bundles: Arc<Bundles>, expected: SpiffeId) -> Self {
        Self { bundles, expected }
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // A workload has one SVID; hints would only tell strangers whom we trust.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let found = verify(&self.bundles, end_entity, intermediates, now, Usage::Client);
        let answer = match &found {
            Ok(_) => Ok(ClientCertVerified::assertion()),
            Err(refusal) => Err(alert(&refusal.error).into()),
        };
        // A handshake has one client certificate. Were there a second, the first would not be the one to go by.
        self.found.set(found).map_err(|_| Error::General("a second client certificate".into()))?;
        answer
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = verify(&self.bundles, end_entity, intermediates, now, Usage::Server)?.spiffe_id;
        if found == self.expected {
            return Ok(ServerCertVerified::assertion());
        }
        let error = SvidError::WrongServerId { expected: self.expected.clone(), found: found.clone() };
        Err(Refusal { error, claimed: Some(found) }.into())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

fn verify(
    bundles: &Bundles,
    leaf: &CertificateDer<'_>,
    rest: &[CertificateDer<'_>],
    now: UnixTime,
    usage: Usage,
) -> Result<Verified, Refusal> {
    let chain: Vec<_> = std::iter::once(leaf).chain(rest).cloned().collect();
    let now_unix_ms = i64::try_from(now.as_secs()).unwrap_or(i64::MAX).saturating_mul(1000);
    chain::verify(&chain, bundles, now_unix_ms, usage)
}

/// What the client is told: enough to know on which side to look, by the alerts of RFC 8446 6.2.
fn alert(error: &SvidError) -> CertificateError {
    match error {
        SvidError::Expired { .. } => CertificateError::Expired,
        SvidError::NotYetValid { .. } => CertificateError::NotValidYet,
        SvidError::UntrustedChain { .. } | SvidError::UnknownTrustDomain(_) => CertificateError::UnknownIssuer,
        _ => CertificateError::BadEncoding,
    }
}

/// TLS 1.2 is never negotiated, so this is never reached; if it were, nothing must pass.
fn no_tls12() -> Error {
    Error::General("TLS 1.2 is not spoken here".into())
}
