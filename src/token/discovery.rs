//! What verifiers and clients are told: the keys (RFC 7517) and where everything is (RFC 8414, OpenID Connect Discovery 1.0).

use std::sync::Arc;

use jsonwebtoken::jwk::JwkSet;
use leasehold_sdk::JwtAlgorithm;
use serde_json::json;

use super::TokenConfig;
use super::key::TokenKey;

/// Where clients reach what is behind mTLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// The API's URL, without a slash at its end.
    pub api_url: String,
}

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
    pub(super) fn of(config: &TokenConfig, addresses: &Addresses, published: &[Arc<TokenKey>]) -> Self {
        let keys = JwkSet { keys: published.iter().map(|key| key.jwk.clone()).collect() };
        let jwks = serde_json::to_string(&keys).expect("public keys can be written");
        Self { discovery: discovery(&config.issuer, &addresses.api_url).to_string().into(), jwks: jwks.into() }
    }
}

/// RFC 8414 section 2, with what RFC 8705 sections 2 and 5 add.
fn discovery(issuer: &str, api: &str) -> serde_json::Value {
    let algorithms: Vec<&str> = JwtAlgorithm::ALL.iter().map(|algorithm| algorithm.as_str()).collect();
    let endpoints = json!({
        "token_endpoint": format!("{api}/oauth2/token"),
        "introspection_endpoint": format!("{api}/oauth2/introspect"),
        "revocation_endpoint": format!("{api}/oauth2/revoke"),
    });
    let by_certificate = json!(["tls_client_auth"]);
    let mut document = json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/oauth2/jwks"),
        "grant_types_supported": ["client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange"],
        "token_endpoint_auth_methods_supported": by_certificate,
        "introspection_endpoint_auth_methods_supported": by_certificate,
        "revocation_endpoint_auth_methods_supported": by_certificate,
        "tls_client_certificate_bound_access_tokens": true,
        "mtls_endpoint_aliases": endpoints,
        "status_list_aggregation_endpoint": format!("{issuer}/oauth2/status"),
        // There are no browser flows and no ID tokens here, but OpenID Connect Discovery section 3 wants the members.
        "response_types_supported": ["none"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": algorithms,
    });
    if let (Some(document), Some(endpoints)) = (document.as_object_mut(), endpoints.as_object()) {
        document.extend(endpoints.clone());
    }
    document
}
