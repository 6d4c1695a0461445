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
    /// Look at what this other cluster left, whose store is lost for good, and at nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// With `cluster`: only what the store with this tag made. Needed for a lost store of the broker's own cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// With `cluster`: end it, unless `dry_run`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub takeover: Option<bool>,
    /// With `takeover`: how many accounts a dry run counted. If they are another number by now, nothing is ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect: Option<u64>,
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
    /// For another cluster: how many accounts of it there were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matched: Option<u64>,
    /// For another cluster: how many of them are left. One call ends a bounded number; repeat it with `expect` as this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<u64>,
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
    /// `revoked`, `held`, `adopted`, `would_revoke`, `taken_over` or `failed`.
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
