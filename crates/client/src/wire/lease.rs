//! Credentials asked for, and the leases that they live under.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Credential;

/// `POST /v1/credentials/{role}`. The body may be absent altogether, which is the same as an empty object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MintRequest {
    /// For how long, such as `15m`: from 1 s to the role's `max_ttl`; the role's `ttl` unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// Values for the role's params.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(default, deserialize_with = "super::unique::optional")]
    pub params: Option<BTreeMap<String, String>>,
    /// Which of the role's scopes, with spaces between; all of them unless said. Only for tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The lease that the new credential is to take the place of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
}

/// 201 of `POST /v1/credentials/{role}`, as it is received. The broker writes it by its own code, into memory that is wiped.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MintResponse {
    /// The new lease, active; null for a token that nobody can end.
    pub lease: Option<Lease>,
    /// The credential, which nobody can ask for again.
    #[cfg_attr(feature = "openapi", schema(value_type = super::credential::schema::Credential))]
    pub credential: Credential,
}

/// The broker's record of one credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Lease {
    /// Its id.
    pub id: String,
    /// The role it was asked for by.
    pub role: String,
    /// The target it is in.
    pub target: String,
    /// The SPIFFE ID of its holder.
    pub identity: String,
    /// `pending`, `active`, `revoking`, `revoked` or `expired`.
    pub state: String,
    /// Why it ended or is ending: `expiry`, `caller`, `operator`, `policy`, `failed` or `vanished`; null while it lives.
    pub ended_by: Option<String>,
    /// When it was recorded.
    pub issued_at: String,
    /// When it ends unless renewed.
    pub expires_at: String,
    /// When it ends at the latest.
    pub max_expires_at: String,
    /// When its holder should ask for the next credential, so that both work for a while.
    pub rotate_at: String,
    /// Whether renewing can move its end.
    pub renewable: bool,
    /// How it can be ended early: `immediate`, `eventual`, `role_wide` or `none`.
    pub revocable: String,
    /// After this no new login or call succeeds even if no broker ever returns; null: unbounded.
    pub worst_case_until: Option<String>,
    /// The account's name, exactly as in the target.
    pub account: String,
    /// How often ending it was tried without success; only while it is being revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// What the last failed try said; only while it is being revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// What was done about its end where nothing more can be done, and what that is worth: it ends by its target's own clock, at
    /// `worst_case_until`. Only while it is being revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
}

impl Lease {
    /// Whether its credential is dead.
    pub fn is_over(&self) -> bool {
        matches!(self.state.as_str(), "revoked" | "expired")
    }
}

/// One lease: the answer of `GET /v1/leases/{id}`, of renewing and of revoking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LeaseResponse {
    /// The lease.
    pub lease: Lease,
}

/// One page of `GET /v1/leases`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LeaseList {
    /// Newest first.
    pub leases: Vec<Lease>,
    /// Pass it as `cursor` for the next page; null on the last.
    pub next_cursor: Option<String>,
}

/// The query of `GET /v1/leases`. All that is said must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseQuery {
    /// Only of this role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Only in this target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Only of this SPIFFE ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Only in this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Leases per page, 1 to 1000; 100 unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// `POST /v1/leases/{id}/renew`. The body may be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// From now on, such as `15m`; the role's `ttl` unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
}
