//! Who works on a store, and who may not use it.

use serde::{Deserialize, Serialize};

/// `GET /v1/brokers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BrokerList {
    /// By id.
    pub brokers: Vec<BrokerEntry>,
}

/// One broker of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BrokerEntry {
    /// Its id, kept in its `data_dir`.
    pub id: String,
    /// Whether it was seen in the last seconds.
    pub alive: bool,
    /// Its host.
    pub host: String,
    /// The version of its program.
    pub version: String,
    /// SHA-256 of its configuration file: brokers of one store should agree.
    pub config: String,
    /// Leases that it is ending just now.
    pub claimed: u64,
    /// Its audit chain.
    pub chain: String,
    /// When its process started.
    pub started_at: String,
    /// When it was last seen, by the store's clock.
    pub seen_at: String,
}

/// `PUT` and `DELETE /v1/blocks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BlockRequest {
    /// The SPIFFE ID.
    pub identity: String,
    /// Why, for whoever reads it later; not for `DELETE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BlockResponse {
    /// The SPIFFE ID.
    pub identity: String,
    /// Whether it is blocked now.
    pub blocked: bool,
    /// Whether that is news.
    pub changed: bool,
}

/// `GET /v1/blocks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BlockList {
    /// By identity.
    pub blocks: Vec<BlockEntry>,
}

/// One blocked identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BlockEntry {
    /// The SPIFFE ID.
    pub identity: String,
    /// Since when.
    pub at: String,
    /// Who ordered it.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
}
