//! Comparing leases with what exists in the targets.

use serde::{Deserialize, Serialize};

/// `POST /v1/reconcile`. The body may be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ReconcileRequest {
    /// Only this target; all of them unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Only look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
    /// What to do with strays that are newer than the store's newest mint. They are left alone unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strays: Option<StrayOrder>,
}

/// What an operator orders for strays that are newer than the store's newest mint: they prove that the store is an older
/// copy of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum StrayOrder {
    /// Leave them alive and take up work again.
    Adopt,
    /// End them.
    Revoke,
}

/// What a pass of the reconciler found and did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReconcileResponse {
    /// By target.
    pub targets: Vec<TargetReport>,
}

/// What it found in one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TargetReport {
    /// Which.
    pub target: String,
    /// Accounts of ours without a live lease.
    pub strays: Vec<Stray>,
    /// Ids of leases whose account was gone.
    pub vanished: Vec<String>,
    /// How many accounts of our cluster belong to another store; never touched.
    pub foreign: u64,
    /// Why the target could not be looked at, or not to the end.
    pub error: Option<String>,
}

/// One account of ours without a live lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Stray {
    /// The account's name in the target.
    pub account: String,
    /// `revoked`, `held`, `adopted`, `would_revoke` or `failed`.
    pub done: String,
    /// Why.
    pub note: Option<String>,
}

/// `POST /v1/targets/{target}/forget`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ForgetResponse {
    /// How many leases were closed without being ended in the target.
    pub closed: u64,
}
