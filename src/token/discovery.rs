//! What verifiers and clients are told: the keys (RFC 7517) and where everything is (RFC 8414, OpenID Connect Discovery 1.0).

use std::sync::Arc;

use jsonwebtoken::jwk::JwkSet;
use leasehold_sdk::JwtAlgorithm;
use serde_json::json;

use super::TokenConfig;
use super::cloud::{self, cloud_issuer};
use super::issuer::Keys;
use super::key::TokenKey;
use super::purpose::Purpose;

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
    /// What clouds are told, who are told nothing of the above; `None`: nothing is asserted to any.
    pub cloud: Option<CloudDocuments>,
}

/// The documents of the issuer for clouds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudDocuments {
    /// `/cloud/.well-known/openid-configuration` and `/.well-known/oauth-authorization-server/cloud`.
    pub discovery: Arc<str>,
    /// `/cloud/jwks`.
    pub jwks: Arc<str>,
}

impl Documents {
    /// Of this issuer with these keys.
    pub(super) fn of(config: &TokenConfig, addresses: &Addresses, published: &Keys) -> Self {
        let cloud = (!published.clouds.is_empty()).then(|| CloudDocuments {
            discovery: cloud_discovery(&cloud_issuer(config)).to_string().into(),
            jwks: jwks(&published.clouds),
        });
        let discovery = discovery(&config.issuer, &addresses.api_url).to_string().into();
        Self { discovery, jwks: jwks(&published.tokens), cloud }
    }
}

fn jwks(keys: &[Arc<TokenKey>]) -> Arc<str> {
    let set = JwkSet { keys: keys.iter().map(|key| key.jwk.clone()).collect() };
    serde_json::to_string(&set).expect("public keys can be written").into()
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

/// OpenID Connect Discovery section 3. There is nothing to call: nobody can ask for an assertion.
fn cloud_discovery(issuer: &str) -> serde_json::Value {
    json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/jwks"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [Purpose::Clouds.algorithm().as_str()],
        "claims_supported": cloud::CLAIMS,
    })
}
