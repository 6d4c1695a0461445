//! Would this be allowed?

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `POST /v1/decisions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DecisionRequest {
    /// For this SPIFFE ID; the caller's own unless said. About others it needs `read`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// `mint`, `read`, `revoke`, `admin` or `exchange`.
    pub action: String,
    /// On this role.
    pub role: String,
    /// With these params.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(default, deserialize_with = "super::unique::optional")]
    pub params: Option<BTreeMap<String, String>>,
    /// For `exchange`: on behalf of this SPIFFE ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

/// The answer of `POST /v1/decisions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DecisionResponse {
    /// Whether it would be.
    pub allowed: bool,
    /// The grant that allows it.
    pub grant: Option<String>,
    /// What is missing, when it is not allowed.
    pub reason: Option<String>,
    /// The same id is in the audit log.
    pub decision_id: String,
}
