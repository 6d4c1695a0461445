//! The certificate verifier that rustls calls, for both sides.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::verify_tls13_signature;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::provider;
use crate::chain::{self, Bundles, Usage, Verified};
use crate::error::Refusal;
use crate::{SpiffeId, SvidError};

/// Verifies SVIDs by the bundles of one generation.
#[derive(Debug)]
pub(super) struct SvidVerifier {
    bundles: Arc<Bundles>,
    /// On the client side: who the server must be.
    server: Option<SpiffeId>,
}

impl SvidVerifier {
    pub(super) fn of_clients(bundles: Arc<Bundles>) -> Self {
        Self { bundles, server: None }
    }

    pub(super) fn of_server(bundles: Arc<Bundles>, server: SpiffeId) -> Self {
        Self { bundles, server: Some(server) }
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
        usage: Usage,
    ) -> Result<Verified, Refusal> {
        let chain: Vec<_> = std::iter::once(leaf).chain(rest).cloned().collect();
        let now_unix_ms = i64::try_from(now.as_secs()).unwrap_or(i64::MAX).saturating_mul(1000);
        chain::verify(&chain, &self.bundles, now_unix_ms, usage)
    }

    fn verify_signature(
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }
}

impl ClientCertVerifier for SvidVerifier {
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
        self.verify(end_entity, intermediates, now, Usage::Client)?;
        Ok(ClientCertVerified::assertion())
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
        Self::verify_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for SvidVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = self.verify(end_entity, intermediates, now, Usage::Server)?.spiffe_id;
        match &self.server {
            Some(expected) if *expected == found => Ok(ServerCertVerified::assertion()),
            Some(expected) => {
                let error = SvidError::WrongServerId { expected: expected.clone(), found: found.clone() };
                let claimed = Some(found);
                Err(Refusal { error, claimed }.into())
            }
            // Never built so; without an expectation nobody is the right server.
            None => Err(Error::General("no server was expected".into())),
        }
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
        Self::verify_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// TLS 1.2 is never negotiated, so this is never reached; if it were, nothing must pass.
fn no_tls12() -> Error {
    Error::General("TLS 1.2 is not spoken here".into())
}
