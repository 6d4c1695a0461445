//! What verifiers can read without showing who they are, and where.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::TokenConfig;
use super::issuer::Issuer;
use super::status;

/// However long a key is published before it signs, verifiers look again this often: a key that was withdrawn is theirs until then.
const KEYS_FRESH_MAX: Duration = Duration::from_secs(900);

/// One document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its media type.
    pub content_type: &'static str,
    /// Its text.
    pub body: Arc<str>,
    /// How long it may be kept.
    pub max_age: Duration,
}

/// How long verifiers may keep the keys: well within the time for which a key is published before it signs.
pub(super) fn keys_fresh(config: &TokenConfig) -> Duration {
    (config.publish_before / 4).min(KEYS_FRESH_MAX)
}

impl Issuer {
    /// The document at this path of the issuer's URL; `None`: there is none, or no key yet.
    pub fn published(&self, path: &str) -> Option<Published> {
        let in_force = self.in_force()?;
        let json = |body: &Arc<str>, content_type| {
            Some(Published { content_type, body: body.clone(), max_age: in_force.keys_fresh })
        };
        let of_status = |content_type, body| Published { content_type, body, max_age: status::TTL };
        match path {
            "/.well-known/openid-configuration" | "/.well-known/oauth-authorization-server" => {
                json(&in_force.documents.discovery, "application/json")
            }
            "/oauth2/jwks" => json(&in_force.documents.jwks, "application/jwk-set+json"),
            // Beneath the issuer's own path (OpenID Connect Discovery section 4), and before it (RFC 8414 section 3.1).
            "/cloud/.well-known/openid-configuration" | "/.well-known/oauth-authorization-server/cloud" => {
                json(&in_force.documents.cloud.as_ref()?.discovery, "application/json")
            }
            "/cloud/jwks" => json(&in_force.documents.cloud.as_ref()?.jwks, "application/jwk-set+json"),
            "/oauth2/status" => {
                let lists = json!({ "status_lists": self.status_lists()? }).to_string();
                Some(of_status("application/json", lists.into()))
            }
            _ => {
                let list = path.strip_prefix("/oauth2/status/")?;
                Some(of_status("application/statuslist+jwt", self.status_list(list)?))
            }
        }
    }
}
