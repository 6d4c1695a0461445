//! What can be asked of the broker, and what it answers.

use std::collections::BTreeMap;
use std::time::Duration;

use leasehold_identity::SpiffeId;
use leasehold_sdk::{ClusterName, LeaseId, StoreTag};

use crate::domain::grant::Action;
use crate::domain::lease::{Lease, State};

/// The id of one request, in logs, audit lines and problems.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(pub String);

/// A credential is asked for.
#[derive(Debug, Clone, Default)]
pub struct MintAsk {
    /// Of which role.
    pub role: String,
    /// For how long; the role's `ttl` unless said.
    pub ttl: Option<Duration>,
    /// With which params.
    pub params: BTreeMap<String, String>,
    /// Which of the role's scopes, with spaces between; only for tokens.
    pub scope: Option<String>,
    /// The token that is exchanged for it.
    pub behalf: Option<OnBehalf>,
    /// The lease that it is to take the place of.
    pub replaces: Option<LeaseId>,
}

/// On whose behalf a caller exchanges a token. Only a token of our own that is good makes one.
#[derive(Debug, Clone)]
pub struct OnBehalf {
    pub(super) subject: SpiffeId,
    pub(super) told: leasehold_sdk::Behalf,
}

/// Leases are asked for.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Of this role.
    pub role: Option<String>,
    /// In this target.
    pub target: Option<String>,
    /// Of this identity.
    pub identity: Option<String>,
    /// In this state.
    pub state: Option<State>,
    /// How many at most.
    pub limit: usize,
    /// Older than this one.
    pub before: Option<LeaseId>,
}

/// One page of leases.
#[derive(Debug, Clone)]
pub struct Page {
    /// Newest first.
    pub leases: Vec<Lease>,
    /// Where the next page starts.
    pub next: Option<LeaseId>,
}

/// Which leases a bulk revocation means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matching {
    /// All of one identity.
    Identity(SpiffeId),
    /// All of one role.
    Role(String),
    /// All in one target.
    Target(String),
    /// All.
    All,
}

/// Many leases are to be ended.
#[derive(Debug, Clone)]
pub struct ManyAsk {
    /// Which.
    pub matching: Matching,
    /// Only count.
    pub dry_run: bool,
    /// How many a dry run said.
    pub expect: Option<u64>,
    /// End all that the role of a cloud has given, whoever has it.
    pub cut: bool,
}

/// A bulk revocation was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderTaken {
    /// Its id; `None` for a dry run.
    pub order: Option<String>,
    /// How many live leases matched.
    pub matched: u64,
    /// Which, for the dry run of a cut.
    pub leases: Option<Vec<Lease>>,
}

/// Would this be allowed?
#[derive(Debug, Clone)]
pub struct DecisionAsk {
    /// To whom; the caller unless said.
    pub identity: Option<SpiffeId>,
    /// Doing what.
    pub action: Action,
    /// On which role.
    pub role: String,
    /// With which params.
    pub params: BTreeMap<String, String>,
    /// For an exchange: on whose behalf.
    pub subject: Option<SpiffeId>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// Whether it would be.
    pub allowed: bool,
    /// By which grant.
    pub grant: Option<String>,
    /// Why not.
    pub reason: Option<String>,
    /// The audit log has it too.
    pub decision_id: String,
}

/// A pass of the reconciler is asked for.
#[derive(Debug, Clone, Default)]
pub struct ReconcileAsk {
    /// Of one target; all unless said.
    pub target: Option<String>,
    /// Only look.
    pub dry_run: bool,
    /// What to do with strays that are newer than the store.
    pub strays: Option<StrayOrder>,
}

/// What another cluster left is asked for, or is to be ended.
#[derive(Debug, Clone)]
pub struct TakeoverAsk {
    /// Which cluster.
    pub cluster: ClusterName,
    /// Only what this store of it made.
    pub tag: Option<StoreTag>,
    /// In one target; all unless said.
    pub target: Option<String>,
    /// Only look.
    pub dry_run: bool,
    /// How many a dry run said.
    pub expect: Option<u64>,
}

/// How far a takeover has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// How many accounts of the other cluster there were.
    pub matched: u64,
    /// How many are left.
    pub left: u64,
}

/// What an operator orders for strays that are newer than the store's newest mint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StrayOrder {
    /// The store is an older copy: leave them, and take up work again.
    Adopt,
    /// End them.
    Revoke,
}

/// What a pass of the reconciler found.
#[derive(Debug, Clone, Default)]
pub struct ReconcileReport {
    /// By target.
    pub targets: Vec<TargetReport>,
    /// For a takeover.
    pub taken: Option<Taken>,
}

/// What it found in one target.
#[derive(Debug, Clone, Default)]
pub struct TargetReport {
    /// Which.
    pub target: String,
    /// Accounts of ours without a live lease: name, what was done (`revoked`, `held`, `adopted`, `would_revoke`, `failed`), why.
    pub strays: Vec<(String, &'static str, Option<String>)>,
    /// Leases whose account was gone.
    pub vanished: Vec<LeaseId>,
    /// Accounts under another store's tag of our cluster: never touched.
    pub foreign: u64,
    /// Why the target could not be looked at.
    pub error: Option<String>,
}

/// A target was forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forgotten {
    /// How many leases were closed.
    pub closed: u64,
}
