//! What the core does for engines.

use std::sync::Arc;

use async_trait::async_trait;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::{EngineError, Timestamp};

/// The core, as an engine sees it: it holds the keys that an engine works with and must not have.
#[async_trait]
pub trait Host: Send + Sync {
    /// Signs a JSON Web Token (RFC 7519). The core adds `iss`, `status` where it has a slot, and `kid` in the header.
    ///
    /// # Errors
    /// [`EngineError::Retry`] when there is no key at the moment, [`EngineError::Refused`] when it would be too large.
    async fn sign_jwt(&self, order: JwtOrder) -> Result<SecretString, EngineError>;

    /// Tells verifiers that look at status lists that these have ended. Durable when it returns; idempotent.
    ///
    /// # Errors
    /// [`EngineError::Retry`] when it cannot be kept at the moment.
    async fn withdraw(&self, ended: &[Withdrawal]) -> Result<(), EngineError>;

    /// Who asserts to clouds: the URL under which they find its keys (OpenID Connect Discovery 1.0), another than the issuer's of
    /// workload tokens; `None`: there is no `[token]`.
    fn cloud_issuer(&self) -> Option<String>;

    /// Signs the broker's own word to a cloud, which no workload ever holds. The core adds `iss`, `iat`, `exp`, `jti` and `kid`.
    ///
    /// # Errors
    /// [`EngineError::Retry`] when there is no key at the moment, [`EngineError::Refused`] when there is no issuer.
    async fn assert(&self, assertion: CloudAssertion) -> Result<SecretString, EngineError>;

    /// The broker's own SVID, to sign requests to a cloud with.
    ///
    /// # Errors
    /// [`EngineError::Retry`] while there is none.
    fn svid(&self) -> Result<Arc<dyn SvidSigner>, EngineError>;
}

/// The broker's own word to a cloud. Its subject is `leasehold:<cluster>:<about>`, and it is good for minutes.
#[derive(Debug)]
pub struct CloudAssertion {
    /// The one cloud that it is for (`aud`).
    pub audience: String,
    /// The role or target for which the cloud is asked: part of the subject, so that the cloud's own rules can tell them apart.
    pub about: String,
    /// What it says beside.
    pub claims: serde_json::Map<String, serde_json::Value>,
}

/// Signs requests with the key of an X.509-SVID, and nothing else: see [`SvidSigner::sign`].
pub trait SvidSigner: Send + Sync {
    /// The certificate and those between it and its root, as DER, the leaf first.
    fn chain(&self) -> &[Vec<u8>];

    /// The certificate's serial number, in decimal.
    fn serial(&self) -> &str;

    /// What kind of key it is.
    fn key(&self) -> SvidKey;

    /// Signs a string to sign of `AWS4-X509-…` with SHA-256: RSA with PKCS #1 v1.5, or ECDSA as DER. Any other text is refused, so
    /// that nothing that signs requests can sign handshakes.
    ///
    /// # Errors
    /// [`EngineError::Refused`].
    fn sign(&self, text: &str) -> Result<Vec<u8>, EngineError>;
}

/// Kinds of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SvidKey {
    /// ECDSA.
    Ecdsa,
    /// RSA.
    Rsa,
}

/// A token to sign.
#[derive(Debug)]
pub struct JwtOrder {
    /// How.
    pub algorithm: JwtAlgorithm,
    /// The media type without `application/`, such as `at+jwt` (RFC 9068 section 2.1).
    pub typ: &'static str,
    /// What it says.
    pub claims: serde_json::Map<String, serde_json::Value>,
    /// Where its end is told.
    pub slot: Option<StatusSlot>,
}

/// A place in a status list (Token Status List): how verifiers that never ask learn that a credential has ended. No two credentials have
/// the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusSlot {
    /// The list.
    pub list: String,
    /// The place in it.
    pub index: u32,
}

/// The end of a credential before its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawal {
    /// Where it is told.
    pub slot: StatusSlot,
    /// After this moment it is worth nothing anyway.
    pub until: Timestamp,
}

/// How a token is signed (RFC 7518 section 3.1, RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum JwtAlgorithm {
    /// ECDSA on P-256.
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// RSA with PKCS #1 v1.5, 2048 bits: slow, and the one that every cloud takes.
    #[serde(rename = "RS256")]
    Rs256,
}

impl JwtAlgorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Es256, Self::EdDsa, Self::Rs256];

    /// The word for it in a token's header (`alg`).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
        }
    }
}
