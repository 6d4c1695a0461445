//! The own X.509-SVID: certificate chain and key, checked before they are used.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};

use crate::chain::{self, Bundles, Usage};
use crate::facts::Facts;
use crate::limits::SVID_FILE_BYTES_MAX;
use crate::peer::sha256_hex;
use crate::tls::provider;
use crate::{IdentityError, SpiffeId, SvidSource, TrustDomain, files};

/// The own identity, ready to be shown.
#[derive(Debug)]
pub(crate) struct OwnSvid {
    pub(crate) spiffe_id: SpiffeId,
    /// End of the leaf, in milliseconds since the epoch.
    pub(crate) not_after_ms: i64,
    pub(crate) certified: Arc<CertifiedKey>,
    /// Of the leaf, in hex: tells one SVID from the next.
    pub(crate) cert_sha256: String,
    pub(crate) warnings: Vec<String>,
}

impl OwnSvid {
    /// Reads and checks it. Whether the own bundle verifies it is asked separately, because bundles change on their own.
    pub(crate) fn load(source: &SvidSource) -> Result<Self, IdentityError> {
        let SvidSource::Files { cert, key } = source;
        let chain = read_chain(cert)?;
        let not_an_svid = |source| IdentityError::NotAnSvid { path: cert.clone(), source };
        let facts = Facts::read(&chain[0]).map_err(not_an_svid)?;
        let spiffe_id = facts.spiffe_id().map_err(not_an_svid)?;
        if let Some(broken) = facts.leaf_violations(&spiffe_id).into_iter().next() {
            return Err(not_an_svid(broken));
        }
        let cert_sha256 = sha256_hex(&chain[0]);
        let certified = certify(source, chain)?;
        let mut warnings = Vec::new();
        if files::others_may_read(key) {
            warnings.push(format!("the private key {} can be read by others than its owner", key.display()));
        }
        Ok(Self {
            spiffe_id,
            not_after_ms: facts.not_after.saturating_mul(1000),
            certified: Arc::new(certified),
            cert_sha256,
            warnings,
        })
    }

    /// Nothing about it is new.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.cert_sha256 == other.cert_sha256 && self.warnings == other.warnings
    }

    pub(crate) fn check_domain(&self, source: &SvidSource, expected: &TrustDomain) -> Result<(), IdentityError> {
        let SvidSource::Files { cert, .. } = source;
        if self.spiffe_id.trust_domain() == expected {
            return Ok(());
        }
        Err(IdentityError::ForeignSvid {
            path: cert.clone(),
            found: self.spiffe_id.clone(),
            expected: expected.clone(),
        })
    }

    /// What would others of the own domain say of it now? `None` if it is good.
    pub(crate) fn problem(&self, bundles: &Bundles, now_unix_ms: i64) -> Option<String> {
        let verified = chain::verify(&self.certified.cert, bundles, now_unix_ms, Usage::Server);
        verified.err().map(|refusal| refusal.error.to_string())
    }
}

pub(crate) fn read_chain(path: &std::path::Path) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let bad = |why: String| IdentityError::BadCertificate { path: path.into(), why };
    let pem = files::read(path, SVID_FILE_BYTES_MAX)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|e| bad(e.to_string()))?;
    if chain.is_empty() {
        return Err(bad("there is no CERTIFICATE block".into()));
    }
    Ok(chain)
}

pub(crate) fn certify(source: &SvidSource, chain: Vec<CertificateDer<'static>>) -> Result<CertifiedKey, IdentityError> {
    let SvidSource::Files { cert, key } = source;
    let bad = |why: String| IdentityError::BadKey { path: key.clone(), why };
    let pem = files::read(key, SVID_FILE_BYTES_MAX)?;
    // Of a damaged key only the kind of damage is told: parser messages may quote what they read.
    let der = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| bad("there is no readable PRIVATE KEY block (a key with a passphrase cannot be used)".into()))?;
    let signer = provider()
        .key_provider
        .load_private_key(der)
        .map_err(|_| bad("its kind is not supported or it is damaged".into()))?;
    let certified = CertifiedKey::new(chain, signer);
    match certified.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(Error::InconsistentKeys(_)) => Err(IdentityError::KeyMismatch { cert: cert.clone(), key: key.clone() }),
        Err(error) => Err(IdentityError::BadCertificate { path: cert.clone(), why: error.to_string() }),
    }
}
