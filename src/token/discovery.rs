//! What verifiers and clients are told: the keys (RFC 7517) and where everything is (RFC 8414, OpenID Connect Discovery 1.0).

use std::sync::Arc;

use jsonwebtoken::jwk::JwkSet;
use leasehold_sdk::JwtAlgorithm;
use serde_json::json;

use super::key::TokenKey;

/// The documents, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Documents {
    /// `/.well-known/openid-configuration` and `/.well-known/oauth-authorization-server`.
    pub discovery: Arc<str>,
    /// `/oauth2/jwks`.
    pub jwks: Arc<str>,
}

impl Documents {
    /// Of this issuer with these keys.
    pub(super) fn of(issuer: &str, published: &[Arc<TokenKey>]) -> Self {
        let keys = JwkSet { keys: published.iter().map(|key| key.jwk.clone()).collect() };
        let algorithms: Vec<&str> = JwtAlgorithm::ALL.iter().map(|algorithm| algorithm.as_str()).collect();
        let discovery = json!({
            "issuer": issuer,
            "jwks_uri": format!("{issuer}/oauth2/jwks"),
            // There are no browser flows here, but the standard wants the members.
            "response_types_supported": ["none"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": algorithms,
            "tls_client_certificate_bound_access_tokens": true,
        });
        let jwks = serde_json::to_string(&keys).expect("public keys can be written");
        Self { discovery: discovery.to_string().into(), jwks: jwks.into() }
    }
}
