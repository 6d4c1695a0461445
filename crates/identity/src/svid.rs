//! The own X.509-SVID: certificate chain and key, checked before they are used.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};

use crate::chain::{self, Bundles, Usage};
use crate::facts::{self, Facts};
use crate::limits::{CHAIN_CERTS_MAX, SVID_FILE_BYTES_MAX};
use crate::tls::provider;
use crate::{IdentityError, SpiffeId, SvidError, SvidSource, TrustDomain, files};

/// The own identity, ready to be shown.
#[derive(Debug)]
pub(crate) struct OwnSvid {
    pub(crate) spiffe_id: SpiffeId,
    /// End of the leaf, in milliseconds since the epoch.
    pub(crate) not_after_ms: i64,
    pub(crate) certified: Arc<CertifiedKey>,
    pub(crate) warnings: Vec<String>,
}

impl OwnSvid {
    /// Reads it from PEM files and checks it. Whether the own bundle verifies it is asked separately, because bundles change on
    /// their own.
    pub(crate) fn from_files(cert: &Path, key: &Path) -> Result<Self, IdentityError> {
        let chain = read_chain(cert)?;
        let mut svid = Self::assemble(chain, cert, |chain| certify(cert, key, chain))?;
        if files::others_may_read(key) {
            svid.warnings.push(format!("the private key {} can be read by others than its owner", key.display()));
        }
        Ok(svid)
    }

    /// The same from concatenated certificates and a PKCS#8 key, all in DER. `place` is where they come from, for errors.
    pub(crate) fn from_der(chain: &[u8], key: &[u8], place: &Path) -> Result<Self, IdentityError> {
        let not_an_svid = |source| IdentityError::NotAnSvid { path: place.into(), source };
        let chain = facts::split(chain, CHAIN_CERTS_MAX).map_err(not_an_svid)?;
        if chain.is_empty() {
            return Err(not_an_svid(SvidError::Malformed("the chain is empty")));
        }
        let key = PrivatePkcs8KeyDer::from(key);
        Self::assemble(chain, place, |chain| pair(chain, key.clone_key().into(), place, place))
    }

    fn assemble(
        chain: Vec<CertificateDer<'static>>,
        place: &Path,
        certify: impl FnOnce(Vec<CertificateDer<'static>>) -> Result<CertifiedKey, IdentityError>,
    ) -> Result<Self, IdentityError> {
        let not_an_svid = |source| IdentityError::NotAnSvid { path: place.into(), source };
        let facts = Facts::read(&chain[0]).map_err(not_an_svid)?;
        let spiffe_id = facts.spiffe_id().map_err(not_an_svid)?;
        if let Some(broken) = facts.leaf_violations(&spiffe_id).into_iter().next() {
            return Err(not_an_svid(broken));
        }
        let certified = Arc::new(certify(chain)?);
        let not_after_ms = facts.not_after.saturating_mul(1000);
        Ok(Self { spiffe_id, not_after_ms, certified, warnings: Vec::new() })
    }

    /// Nothing about it is new.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        // The leaf may stay while an intermediate is replaced.
        self.certified.cert == other.certified.cert && self.warnings == other.warnings
    }

    pub(crate) fn check_domain(&self, source: &SvidSource, expected: &TrustDomain) -> Result<(), IdentityError> {
        if self.spiffe_id.trust_domain() == expected {
            return Ok(());
        }
        let path = match source {
            SvidSource::Files { cert, .. } => cert.clone(),
            SvidSource::WorkloadApi(api) => api.to_string().into(),
        };
        Err(IdentityError::ForeignSvid { path, found: self.spiffe_id.clone(), expected: expected.clone() })
    }

    /// What would others of the own domain say of it now? `None` if it is good.
    pub(crate) fn problem(&self, bundles: &Bundles, now_unix_ms: i64) -> Option<String> {
        let verified = chain::verify(&self.certified.cert, bundles, now_unix_ms, Usage::Server);
        verified.err().map(|refusal| refusal.error.to_string())
    }
}

pub(crate) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let bad = |why: String| IdentityError::BadCertificate { path: path.into(), why };
    let pem = files::read(path, SVID_FILE_BYTES_MAX)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|e| bad(e.to_string()))?;
    if chain.is_empty() {
        return Err(bad("there is no CERTIFICATE block".into()));
    }
    Ok(chain)
}

/// Reads the key of a chain.
pub(crate) fn certify(
    cert: &Path,
    key: &Path,
    chain: Vec<CertificateDer<'static>>,
) -> Result<CertifiedKey, IdentityError> {
    let bad = |why: &str| IdentityError::BadKey { path: key.into(), why: why.into() };
    let pem = files::read(key, SVID_FILE_BYTES_MAX)?;
    // Of a damaged key only the kind of damage is told: parser messages may quote what they read.
    let der = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| bad("there is no readable PRIVATE KEY block (a key with a passphrase cannot be used)"))?;
    pair(chain, der, cert, key)
}

/// Puts chain and key together if they belong together; the paths say where they come from.
fn pair(
    chain: Vec<CertificateDer<'static>>,
    der: PrivateKeyDer<'static>,
    cert: &Path,
    key: &Path,
) -> Result<CertifiedKey, IdentityError> {
    let bad = || IdentityError::BadKey { path: key.into(), why: "its kind is not supported or it is damaged".into() };
    let signer = provider().key_provider.load_private_key(der).map_err(|_| bad())?;
    let certified = CertifiedKey::new(chain, signer);
    match certified.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(Error::InconsistentKeys(_)) => Err(IdentityError::KeyMismatch { cert: cert.into(), key: key.into() }),
        Err(error) => Err(IdentityError::BadCertificate { path: cert.into(), why: error.to_string() }),
    }
}
