//! What the core does for engines.

use async_trait::async_trait;
use secrecy::SecretString;

use crate::EngineError;

/// The core, as an engine sees it: it holds the keys that an engine works with and must not have.
#[async_trait]
pub trait Host: Send + Sync {
    /// Signs these claims as a JSON Web Token (RFC 7519). The core adds `iss`, and `kid` and `typ` in the header; `typ` is
    /// the media type without `application/`, such as `at+jwt` (RFC 9068 section 2.1).
    ///
    /// # Errors
    /// [`EngineError::Retry`] when there is no key at the moment, [`EngineError::Refused`] when it would be too large.
    async fn sign_jwt(
        &self,
        algorithm: JwtAlgorithm,
        typ: &'static str,
        claims: serde_json::Map<String, serde_json::Value>,
    ) -> Result<SecretString, EngineError>;
}

/// How a token is signed (RFC 7518 section 3.1, RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
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
