//! A throwaway certificate authority, for development, the playground and tests. Not for production: its key lies in a file.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use zeroize::Zeroizing;

use crate::facts::{self, Facts};
use crate::limits::SVID_FILE_BYTES_MAX;
use crate::{IdentityError, SpiffeId, TrustDomain, clock, files};

/// Name of the authority's certificate in its folder: the trust bundle of its domain, as PEM.
pub const CA_CERT_FILE: &str = "ca.pem";
const CA_KEY_FILE: &str = "ca-key.pem";
const CA_LIFE: Duration = Duration::from_secs(366 * 24 * 3600);
/// Certificates begin a little in the past, for clocks that are behind.
const BACKDATE: Duration = Duration::from_secs(60);
const KEY_MODE: u32 = 0o600;
const CERT_MODE: u32 = 0o644;

/// A development certificate authority of one trust domain, with an ECDSA P-256 key.
#[derive(Debug)]
pub struct DevCa {
    trust_domain: TrustDomain,
    cert: CertificateDer<'static>,
    cert_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// An SVID with its key, fresh from a [`DevCa`].
#[derive(Debug)]
pub struct DevSvid {
    /// The certificate, PEM.
    pub cert_pem: String,
    /// The private key, PKCS#8 PEM.
    pub key_pem: Zeroizing<String>,
    /// Its end, in milliseconds since the Unix epoch.
    pub not_after_unix_ms: i64,
}

/// Why a development certificate could not be made, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DevError {
    /// The authority is of another trust domain.
    #[error("{id} is not in the trust domain {trust_domain} of this authority")]
    OtherTrustDomain {
        /// What was asked for.
        id: SpiffeId,
        /// Whose authority it is.
        trust_domain: TrustDomain,
    },
    /// A leaf must have a path.
    #[error("{0} names a whole trust domain; a workload's ID has a path, for example {0}/billing")]
    RootPath(SpiffeId),
    /// The lifetime is zero, or ends beyond what a certificate can say.
    #[error("a certificate cannot live for {} seconds", .0.as_secs())]
    Lifetime(Duration),
    /// The files do not hold such an authority.
    #[error("{path} does not hold a development authority: {why}")]
    NotADevCa {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A file could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file could not be read.
    #[error(transparent)]
    Read(#[from] IdentityError),
    /// The certificate library refused.
    #[error("the certificate could not be made: {0}")]
    Make(#[from] rcgen::Error),
}

impl DevCa {
    /// Makes a new authority with a new key, good for a year.
    ///
    /// # Errors
    /// [`DevError::Make`], which is not to be expected.
    pub fn create(trust_domain: &TrustDomain) -> Result<Self, DevError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let (mut params, _) = lifetime(CA_LIFE)?;
        params.distinguished_name = ca_name(trust_domain);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.subject_alt_names = vec![SanType::URI(format!("spiffe://{trust_domain}").try_into()?)];
        let cert = params.self_signed(&key)?;
        Ok(Self {
            trust_domain: trust_domain.clone(),
            cert_pem: cert.pem(),
            cert: cert.into(),
            issuer: Issuer::new(params, key),
        })
    }

    /// Reads an authority that [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// A [`DevError`] naming the file that is missing or not such an authority.
    pub fn load(dir: &Path) -> Result<Self, DevError> {
        let (cert_path, key_path) = (dir.join(CA_CERT_FILE), dir.join(CA_KEY_FILE));
        let cert_bad = |why: String| DevError::NotADevCa { path: cert_path.clone(), why };
        let pem = files::read(&cert_path, SVID_FILE_BYTES_MAX)?;
        let cert = CertificateDer::from_pem_slice(&pem).map_err(|e| cert_bad(e.to_string()))?;
        let trust_domain = domain_of(&cert).map_err(cert_bad)?;
        let key = read_key(&key_path)?;
        let spki = rcgen::PublicKeyData::subject_public_key_info(&key);
        let read = facts::parse(&cert).map_err(|e| cert_bad(e.to_string()))?;
        if read.public_key().raw != spki {
            return Err(cert_bad("the key beside it belongs to another certificate".into()));
        }
        // What is issued names its issuer as `create` writes it, so another subject would make chains that lead nowhere.
        if read.subject().to_string() != format!("CN={}", ca_common_name(&trust_domain)) {
            return Err(cert_bad("it was not made by this program".into()));
        }
        let mut params = CertificateParams::default();
        params.distinguished_name = ca_name(&trust_domain);
        Ok(Self {
            trust_domain,
            cert_pem: String::from_utf8_lossy(&pem).into_owned(),
            cert,
            issuer: Issuer::new(params, key),
        })
    }

    /// Writes `ca.pem` and `ca-key.pem` (mode 0600) into a directory that exists.
    ///
    /// # Errors
    /// [`DevError::Write`].
    pub fn save(&self, dir: &Path) -> Result<(), DevError> {
        let key = Zeroizing::new(self.issuer.key().serialize_pem());
        write(&dir.join(CA_KEY_FILE), key.as_bytes(), KEY_MODE)?;
        write(&dir.join(CA_CERT_FILE), self.cert_pem.as_bytes(), CERT_MODE)
    }

    /// The domain it vouches for.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Issues an SVID for a workload of its own trust domain, with a new ECDSA P-256 key.
    ///
    /// # Errors
    /// A [`DevError`] for an ID of another domain or without a path, or a lifetime of nothing.
    pub fn issue(&self, id: &SpiffeId, ttl: Duration) -> Result<DevSvid, DevError> {
        if id.trust_domain() != &self.trust_domain {
            return Err(DevError::OtherTrustDomain { id: id.clone(), trust_domain: self.trust_domain.clone() });
        }
        if id.path().is_empty() {
            return Err(DevError::RootPath(id.clone()));
        }
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let (mut params, not_after_unix_ms) = lifetime(ttl)?;
        params.distinguished_name = DistinguishedName::new();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names = vec![SanType::URI(id.as_str().try_into()?)];
        params.use_authority_key_identifier_extension = true;
        let cert = params.signed_by(&key, &self.issuer)?;
        Ok(DevSvid { cert_pem: cert.pem(), key_pem: Zeroizing::new(key.serialize_pem()), not_after_unix_ms })
    }

    /// Its trust bundle as PEM.
    pub fn bundle_pem(&self) -> String {
        self.cert_pem.clone()
    }

    /// Its trust bundle as a SPIFFE JWK Set.
    pub fn bundle_jwks(&self) -> String {
        let point = self.issuer.key().public_key_raw();
        // An uncompressed point: one byte of form, then x and y, 32 bytes each.
        let (x, y) = point.get(1..).unwrap_or_default().split_at(32);
        let url = data_encoding::BASE64URL_NOPAD;
        let key = json!({
            "use": "x509-svid", "kty": "EC", "crv": "P-256", "x": url.encode(x), "y": url.encode(y),
            "x5c": [BASE64.encode(&self.cert)],
        });
        json!({ "keys": [key], "spiffe_sequence": 1, "spiffe_refresh_hint": 300 }).to_string()
    }
}

impl DevSvid {
    /// Writes `{name}.pem` and `{name}-key.pem` (mode 0600) into a directory that exists, each by an atomic rename.
    /// Returns the two paths, certificate first.
    ///
    /// # Errors
    /// [`DevError::Write`].
    pub fn write_to(&self, dir: &Path, name: &str) -> Result<(PathBuf, PathBuf), DevError> {
        let cert = dir.join(format!("{name}.pem"));
        let key = dir.join(format!("{name}-key.pem"));
        write(&key, self.key_pem.as_bytes(), KEY_MODE)?;
        write(&cert, self.cert_pem.as_bytes(), CERT_MODE)?;
        Ok((cert, key))
    }
}

fn ca_name(trust_domain: &TrustDomain) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, ca_common_name(trust_domain));
    name
}

fn ca_common_name(trust_domain: &TrustDomain) -> String {
    // A common name has room for 64 characters; a trust domain may have more.
    let short: String = trust_domain.as_str().chars().take(40).collect();
    format!("development CA {short}")
}

/// Certificate parameters that are valid from now on, and their end in milliseconds.
fn lifetime(ttl: Duration) -> Result<(CertificateParams, i64), DevError> {
    let refused = || DevError::Lifetime(ttl);
    let now_seconds = clock::now_unix_ms() / 1000;
    let end = i64::try_from(ttl.as_secs())
        .ok()
        .and_then(|seconds| now_seconds.checked_add(seconds))
        // The last second that a certificate can name is in the year 9999 (RFC 5280 4.1.2.5).
        .filter(|end| (now_seconds + 1..253_402_300_800).contains(end))
        .ok_or_else(refused)?;
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let seconds = |unix: i64| Duration::from_secs(u64::try_from(unix).unwrap_or(0));
    let mut params = CertificateParams::default();
    params.not_before = epoch + seconds(now_seconds).saturating_sub(BACKDATE);
    params.not_after = epoch + seconds(end);
    Ok((params, end * 1000))
}

/// The trust domain that a development authority names in its own ID.
fn domain_of(cert: &CertificateDer<'_>) -> Result<TrustDomain, String> {
    let facts = Facts::read(cert).map_err(|e| e.to_string())?;
    if let Some(why) = facts.authority_violation() {
        return Err(why.into());
    }
    let id = facts.spiffe_id().map_err(|e| e.to_string())?;
    Ok(id.trust_domain().clone())
}

fn read_key(path: &Path) -> Result<KeyPair, DevError> {
    let pem = files::read(path, SVID_FILE_BYTES_MAX)?;
    let bad = || DevError::NotADevCa { path: path.into(), why: "there is no usable private key".into() };
    let text = std::str::from_utf8(&pem).map_err(|_| bad())?;
    KeyPair::from_pem(text).map_err(|_| bad())
}

fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), DevError> {
    files::write_atomically(path, content, mode).map_err(|source| DevError::Write { path: path.into(), source })
}
