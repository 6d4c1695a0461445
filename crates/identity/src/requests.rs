//! Signing requests with the key of the own SVID, for services that know the broker by its certificate (AWS IAM Roles Anywhere).

use rustls::SignatureScheme;
use rustls::sign::Signer;

use crate::{Identity, facts};

/// What the text to sign of such a request begins with. It goes on with the kind of the key and the hash.
const BEGINNING: &str = "AWS4-X509-";

/// Those with SHA-256. A key of another curve signs with another hash, and Ed25519 with none that is asked for.
const SCHEMES: [SignatureScheme; 2] = [SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PKCS1_SHA256];

/// Why a request cannot be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// There is no SVID yet, or it was withdrawn.
    #[error("there is no own SVID at the moment")]
    NoSvid,
    /// Its key cannot sign as it must.
    #[error("the key of the own SVID cannot sign requests with SHA-256: that takes ECDSA on P-256, or RSA")]
    Key,
    /// The text is that of no request.
    #[error("only texts of printable lines that begin with {BEGINNING} are signed: this is none")]
    Text,
    /// The library does not sign.
    #[error("the key of the own SVID did not sign")]
    Failed,
}

/// What kind of key an SVID has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKey {
    /// ECDSA.
    Ecdsa,
    /// RSA.
    Rsa,
}

/// Signs requests with one SVID. To be asked for anew when there is another: see [`Identity::request_signer`].
#[derive(Debug)]
pub struct RequestSigner {
    chain: Vec<Vec<u8>>,
    serial: String,
    key: RequestKey,
    signer: Box<dyn Signer>,
}

impl RequestSigner {
    /// The certificate and those between it and its root, as DER, the leaf first.
    pub fn chain(&self) -> &[Vec<u8>] {
        &self.chain
    }

    /// The serial number of the certificate, in decimal: by it a signature names it.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// What kind of key it is.
    pub fn key(&self) -> RequestKey {
        self.key
    }

    /// Signs with SHA-256: RSA with PKCS #1 v1.5, or ECDSA as DER.
    ///
    /// The text of a request alone: the same key proves in handshakes who we are, and what is signed there holds bytes that no such text
    /// has (RFC 8446 section 4.4.3; RFC 5246 section 7.4.3).
    ///
    /// # Errors
    /// [`RequestError::Text`] for any other text.
    pub fn sign(&self, text: &str) -> Result<Vec<u8>, RequestError> {
        let is_request =
            text.starts_with(BEGINNING) && text.bytes().all(|b| b == b'\n' || b == b' ' || b.is_ascii_graphic());
        if !is_request {
            return Err(RequestError::Text);
        }
        self.signer.sign(text.as_bytes()).map_err(|_| RequestError::Failed)
    }
}

impl Identity {
    /// What signs requests with the present SVID.
    ///
    /// # Errors
    /// [`RequestError::NoSvid`] and [`RequestError::Key`].
    pub fn request_signer(&self) -> Result<RequestSigner, RequestError> {
        let snapshot = self.snapshot();
        let certified = &snapshot.svid.as_ref().ok_or(RequestError::NoSvid)?.certified;
        let signer = certified.key.choose_scheme(&SCHEMES).ok_or(RequestError::Key)?;
        let key = match signer.scheme() {
            SignatureScheme::RSA_PKCS1_SHA256 => RequestKey::Rsa,
            _ => RequestKey::Ecdsa,
        };
        let (leaf, above) = certified.cert.split_first().ok_or(RequestError::NoSvid)?;
        let serial = facts::parse(leaf).map_err(|_| RequestError::NoSvid)?.tbs_certificate.serial.to_string();
        let between = above.iter().filter(|cert| !is_root(cert));
        let chain = std::iter::once(leaf).chain(between).map(|cert| cert.to_vec()).collect();
        Ok(RequestSigner { chain, serial, key, signer })
    }
}

/// Whoever verifies has the root already, and files often end with it.
fn is_root(der: &[u8]) -> bool {
    facts::parse(der).is_ok_and(|cert| cert.subject().as_raw() == cert.issuer().as_raw())
}
