//! Certificates as bad as a test wants them, and a client that shows them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use leasehold_identity::{HandshakeError, Identity, Peer};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

use crate::kit::{BILLING, DEADLINE, HOUR, socket_pair};

pub const KEY_USAGE: [u64; 4] = [2, 5, 29, 15];
pub const SUBJECT_ALT_NAME: [u64; 4] = [2, 5, 29, 17];
pub const NAME_CONSTRAINTS: [u64; 4] = [2, 5, 29, 30];
pub const EXTENDED_KEY_USAGE: [u64; 4] = [2, 5, 29, 37];

/// An authority or intermediate that signs anything.
pub struct Signer {
    pub issuer: Issuer<'static, KeyPair>,
    pub der: CertificateDer<'static>,
    pub pem: String,
}

/// A leaf with what it is shown with.
pub struct Shown {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: KeyPair,
}

pub fn key() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key")
}

/// Seconds from now, for a certificate's validity.
pub fn valid(params: &mut CertificateParams, from_seconds: i64, until_seconds: i64) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let at = |offset: i64| {
        let seconds = i64::try_from(now.as_secs()).expect("small") + offset;
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(seconds).expect("after 1970"))
    };
    params.not_before = at(from_seconds);
    params.not_after = at(until_seconds);
}

pub fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().expect("ASCII"))
}

pub fn extension(oid: [u64; 4], critical: bool, der: &[u8]) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(&oid, der.to_vec());
    extension.set_criticality(critical);
    extension
}

/// A DER value: tag, length, content.
pub fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("short");
    let mut out = vec![tag];
    match length {
        0..=127 => out.push(u8::try_from(length).expect("a byte")),
        _ => {
            out.push(0x82);
            out.extend(length.to_be_bytes());
        }
    }
    out.extend(content);
    out
}

/// Name constraints with one permitted subtree of the given kind (a context tag, 6 for URI, 2 for DNS).
pub fn permitted(kind: u8, base: &str) -> CustomExtension {
    let subtree = der(0x30, &der(0x80 | kind, base.as_bytes()));
    extension(NAME_CONSTRAINTS, true, &der(0x30, &der(0xa0, &subtree)))
}

fn signer_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid(&mut params, -3600, 48 * 3600);
    params
}

/// A self-signed authority, changed as wanted.
pub fn authority(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Signer {
    let mut params = signer_params(name);
    change(&mut params);
    let key = key();
    let cert = params.self_signed(&key).expect("signed");
    Signer { pem: cert.pem(), der: cert.into(), issuer: Issuer::new(params, key) }
}

impl Signer {
    /// A certificate under this one that signs others, changed as wanted.
    pub fn intermediate(&self, change: impl FnOnce(&mut CertificateParams)) -> Signer {
        let mut params = signer_params("intermediate");
        change(&mut params);
        let key = key();
        let cert = params.signed_by(&key, &self.issuer).expect("signed");
        Signer { pem: cert.pem(), der: cert.into(), issuer: Issuer::new(params, key) }
    }

    /// A leaf that keeps all rules, changed as wanted.
    pub fn leaf(&self, change: impl FnOnce(&mut CertificateParams)) -> Shown {
        let mut params = leaf_params();
        change(&mut params);
        let key = key();
        let cert = params.signed_by(&key, &self.issuer).expect("signed");
        Shown { chain: vec![cert.into()], key }
    }

    /// The certificate of such a leaf with another's key, in PEM.
    pub fn leaf_of(&self, key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> String {
        let mut params = leaf_params();
        change(&mut params);
        params.signed_by(key, &self.issuer).expect("signed").pem()
    }
}

/// A leaf's that keep all rules.
fn leaf_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![uri(BILLING)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    valid(&mut params, -60, i64::try_from(HOUR.as_secs()).expect("small"));
    params
}

impl Shown {
    /// Shows these certificates after the leaf.
    pub fn with(mut self, signers: &[&Signer]) -> Self {
        self.chain.extend(signers.iter().map(|signer| signer.der.clone()));
        self
    }
}

/// Shows a certificate to a server by a client that checks nothing of it, and tells what the server said.
pub async fn show(server: &Arc<Identity>, shown: &Shown) -> Result<Peer, HandshakeError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let der = PrivateKeyDer::try_from(shown.key.serialize_der()).expect("PKCS#8");
    let key = provider.key_provider.load_private_key(der).expect("a key");
    let certified = CertifiedKey::new(shown.chain.clone(), key);
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    call(server, config).await
}

/// A handshake with any client configuration.
pub async fn call(server: &Arc<Identity>, config: ClientConfig) -> Result<Peer, HandshakeError> {
    let (ours, theirs) = socket_pair().await;
    let acceptor = server.acceptor();
    let name = ServerName::try_from("localhost").expect("a name");
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let both = async { tokio::join!(acceptor.accept(ours), connector.connect(name, theirs)) };
    let (served, _) = tokio::time::timeout(DEADLINE, both).await.expect("in time");
    served.map(|(_, peer)| peer)
}

/// Takes every server: these tests are about what the server does.
#[derive(Debug)]
pub struct AnyServer;

impl ServerCertVerifier for AnyServer {
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
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519]
    }
}
