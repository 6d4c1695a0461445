//! The issuer of tokens: its keys, and what it publishes.

use serde::{Deserialize, Serialize};

/// `POST /v1/token/rotate-key`; the body may be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RotateKeyRequest {
    /// Keys of workloads' tokens of this algorithm only: `ES256`, `EdDSA` or `RS256`; all keys that are in use unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// The keys by which the broker asserts to clouds, and no others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<bool>,
    /// The new key signs at once, and all before it are gone: what they signed is worth nothing any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<bool>,
}

/// The signing keys: the answer of `POST /v1/token/rotate-key` and `GET /v1/token/keys`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenKeyList {
    /// By algorithm, oldest first; those of assertions to clouds come last.
    pub keys: Vec<TokenKey>,
}

/// One signing key; nothing of it is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenKey {
    /// `ES256`, `EdDSA` or `RS256`.
    pub algorithm: String,
    /// Whether it signs the broker's own assertions to clouds, and no token.
    #[serde(default)]
    pub cloud: bool,
    /// Counts up.
    pub generation: u64,
    /// Its name in tokens.
    pub kid: String,
    /// `next`: published, does not sign yet; `active`: signs; `retiring`: published until the last token that it signed is over.
    pub state: String,
    /// When it was made.
    pub made_at: String,
}

/// `GET /v1/token/discovery`: what the public listener tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IssuerDocuments {
    /// The discovery document (RFC 8414).
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub discovery: serde_json::Value,
    /// The key set (RFC 7517).
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub jwks: serde_json::Value,
    /// The same of the issuer of assertions to clouds, where a target needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<CloudDocuments>,
}

/// What clouds read of the issuer of assertions to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CloudDocuments {
    /// The discovery document (OpenID Connect Discovery 1.0).
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub discovery: serde_json::Value,
    /// The key set (RFC 7517).
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub jwks: serde_json::Value,
}
