//! The engine contract.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::{
    AccountName, AdminSecrets, ClusterName, Credential, EngineError, Finding, JwtAlgorithm, LeaseId, Reason, Revocable,
    RoleSettings, SettingError, Settings, StatusSlot, StoreTag, Timestamp,
};

/// A kind of target, such as `postgres`: reads configuration and makes engines.
pub trait EngineKind: Send + Sync {
    /// The name used as `plugin = "…"`.
    fn name(&self) -> &'static str;

    /// The kind of credential it makes, such as `database`.
    fn credential_kind(&self) -> &'static str;

    /// Checks a target's settings and makes its engine. Must not touch the target: the broker starts while targets are down.
    ///
    /// # Errors
    /// The key that is wrong and why.
    fn target(&self, context: TargetContext, settings: Settings) -> Result<Arc<dyn Engine>, SettingError>;
}

/// What an engine knows of its target's place in the broker.
#[derive(Debug, Clone)]
pub struct TargetContext {
    /// The target's name in the configuration.
    pub target: String,
    /// The cluster, part of every account name.
    pub cluster: ClusterName,
    /// This broker process, for the target's own session list: a few characters, new at each start.
    pub instance: String,
    /// Relative paths of the settings start here.
    pub base_dir: PathBuf,
}

/// What an engine is told of a role whose settings it checks.
#[derive(Debug, Clone)]
pub struct RoleContext {
    /// The role's name in the configuration.
    pub role: String,
    /// Names of the params that a caller may pass: what templates may refer to.
    pub params: Vec<String>,
    /// How long its credentials live unless somebody asks for less or more.
    pub ttl: Duration,
    /// The longest that they live.
    pub max_ttl: Duration,
}

impl RoleContext {
    /// A role whose credentials live an hour: for tests.
    pub fn of_an_hour(role: &str, params: Vec<String>) -> Self {
        let hour = Duration::from_secs(3600);
        Self { role: role.to_owned(), params, ttl: hour, max_ttl: hour }
    }
}

/// One target's engine.
///
/// Rules for every method: bounded in time by the engine itself, safe to drop at any await (the core may give up on a
/// call), never a secret in an error, and nothing that a target says is trusted or passed on uncut.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Checks a role's own settings, without touching the target.
    ///
    /// # Errors
    /// The key that is wrong and why.
    fn role(&self, context: &RoleContext, settings: Settings) -> Result<RoleSettings, SettingError>;

    /// How much the target takes at once.
    fn throughput(&self) -> Throughput;

    /// Which target this is, by its own word (PostgreSQL: system identifier). Reaches the target at most once per connection.
    ///
    /// # Errors
    /// [`EngineError::Retry`] when it cannot be reached.
    async fn fingerprint(&self) -> Result<Fingerprint, EngineError>;

    /// Whether the role may be handed out as the target is now: that what it names exists and that it is not too strong.
    /// Answers the dangerous rights that the role has and that its `allow_dangerous` permits, for the audit log.
    ///
    /// # Errors
    /// [`EngineError::Refused`] when the role is too strong or names what is not there, [`EngineError::Retry`] when the target is away.
    async fn vet(&self, role: &RoleSettings) -> Result<Vec<String>, EngineError>;

    /// Decides what will exist. Pure: it reads no clock, no randomness and no target.
    ///
    /// # Errors
    /// [`EngineError::Refused`] when a param makes a value that the target cannot hold.
    fn plan(&self, request: &PlanRequest<'_>) -> Result<Plan, EngineError>;

    /// The plan by which an account of ours without a row (a stray) is ended.
    fn plan_for_stray(&self, account: &AccountName, fingerprint: &Fingerprint) -> Plan;

    /// Makes what the plans say; one answer per order, in their order. An order whose `deadline` has passed by the target's
    /// clock must not be carried out, however late the target reads it.
    async fn mint(&self, orders: Vec<MintOrder>) -> Vec<Result<Minted, EngineError>>;

    /// Moves the target's own expiry; one answer per order.
    async fn renew(&self, orders: &[RenewOrder]) -> Vec<Result<(), EngineError>>;

    /// Ends what the plans say, open sessions included; one answer per order. Idempotent. One order that cannot be ended does
    /// not hinder the others.
    async fn revoke(&self, orders: &[RevokeOrder]) -> Vec<Result<Ending, EngineError>>;

    /// Accounts that carry our mark, in the order of their names, after `after`.
    ///
    /// # Errors
    /// As any call to the target.
    async fn list(&self, mark: &Mark, after: Option<&str>, limit: usize) -> Result<Listing, EngineError>;

    /// Whether what was made by this plan is in the list if it is there: only then that it is not listed means that it is gone.
    fn is_listed(&self, _plan: &Plan) -> bool {
        true
    }

    /// The same target as a broker of `cluster` would use it: for ending what a cluster left whose store is lost for good.
    ///
    /// # Errors
    /// [`EngineError::Refused`] when the engine cannot.
    fn as_cluster(&self, cluster: &ClusterName) -> Result<Arc<dyn Engine>, EngineError> {
        Err(EngineError::refused(format!("what the cluster {cluster} left there cannot be taken over")))
    }

    /// Reach, rights, roles: everything worth telling an operator. Never fails: being unreachable is a finding.
    async fn check(&self, roles: &[(String, RoleSettings)]) -> Vec<Finding>;

    /// Where the core puts the secrets of the admin login that it keeps; `None`: this kind has no such login.
    fn admin_secrets(&self) -> Option<&AdminSecrets> {
        None
    }

    /// Gives the admin login another password, and logs in with it. The target is sent nothing from which the password could
    /// be read (law 6).
    ///
    /// # Errors
    /// [`EngineError::Refused`] when it certainly keeps the old one, [`EngineError::Unknown`] when it may have either.
    async fn set_admin_password(&self, _next: &SecretString) -> Result<(), EngineError> {
        Err(EngineError::refused("this kind of target has no admin password to rotate"))
    }

    /// The finite space in which the ends of a role's credentials are told (see [`Room`]); `None`: each is ended by itself.
    fn room(&self, _role: &RoleSettings) -> Option<String> {
        None
    }

    /// What a cut of a role's room would meet, others' credentials too: all roles of the same scope lose theirs together.
    fn cut_scope(&self, _role: &RoleSettings) -> Option<String> {
        None
    }

    /// What there is to know of a target whose credentials are tokens; `None`: they are something else.
    fn as_tokens(&self) -> Option<&dyn TokenTarget> {
        None
    }

    /// Whether it gets in by the broker's own word ([`Host::assert`](crate::Host::assert)): then there are keys to sign that with.
    fn asserts_to_cloud(&self) -> bool {
        false
    }

    /// What an operator must run in the target before the engine can work there; `None` when nothing is needed.
    fn install_sql(&self, _roles: &[(String, RoleSettings)]) -> Option<String> {
        None
    }
}

/// A target whose credentials are tokens.
pub trait TokenTarget: Send + Sync {
    /// Whom they are for (`aud`).
    fn audience(&self) -> &str;

    /// The names of an identity's segments that a role's tokens speak of: whoever is granted it must be granted it by a pattern that has
    /// them all.
    fn captures(&self, role: &RoleSettings) -> Vec<String>;

    /// All scopes of a role.
    fn scopes(&self, role: &RoleSettings) -> Vec<String>;

    /// How a role's tokens are signed.
    fn algorithm(&self, role: &RoleSettings) -> Option<JwtAlgorithm>;
}

/// How much a target takes at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throughput {
    /// Batches of mints under way at once.
    pub mint_lanes: usize,
    /// Mints in one batch.
    pub mint_batch_max: usize,
    /// Batches of revocations under way at once, of what falls due; and as many of what could not be ended before.
    pub revoke_lanes: usize,
    /// Revocations in one batch.
    pub revoke_batch_max: usize,
}

/// Which target it is, by the target's own word. Two with different fingerprints are never confused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint(pub String);

/// Who asked: facts for templates and for engines that put them into what they make.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The verified SPIFFE ID.
    pub spiffe_id: String,
    /// SHA-256 of the certificate that proved it, in hex.
    pub cert_sha256: String,
    /// When that certificate ends.
    pub not_after: Timestamp,
    /// What the caller passed, checked against the role's patterns.
    pub params: BTreeMap<String, String>,
    /// What stands in its SPIFFE ID where the pattern of its grant has names.
    pub captured: BTreeMap<String, String>,
    /// On whose behalf it asks, when it exchanges a token that it was sent.
    pub behalf: Option<Behalf>,
}

/// Somebody whose token another exchanges (RFC 8693).
#[derive(Debug, Clone)]
pub struct Behalf {
    /// The SPIFFE ID of whom the token speaks.
    pub subject: String,
    /// What the token allows: names with spaces between.
    pub scope: String,
    /// When it ends.
    pub ends_by: Timestamp,
    /// What it says beside: texts of claims by their names.
    pub claims: BTreeMap<String, String>,
    /// Who exchanged it before (`act`).
    pub actor: Option<serde_json::Value>,
}

/// What a plan is made from.
#[derive(Debug)]
pub struct PlanRequest<'a> {
    /// The lease.
    pub lease: LeaseId,
    /// The account's name, decided by the core.
    pub account: &'a AccountName,
    /// The role's name.
    pub role: &'a str,
    /// The role's checked settings.
    pub settings: &'a RoleSettings,
    /// Who asked.
    pub caller: &'a Caller,
    /// Which target it is to be made in.
    pub fingerprint: &'a Fingerprint,
    /// Which of the role's scopes the caller asks for, with spaces between; only for tokens.
    pub scope: Option<&'a str>,
    /// Where its end can be told; only for tokens with a lease.
    pub slot: Option<StatusSlot>,
}

/// All that is needed to make and unmake one credential; no secret. Kept whole in the lease's row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The account's name.
    pub account: AccountName,
    /// The target it is for.
    pub fingerprint: Fingerprint,
    /// How it can be ended.
    pub revocable: Revocable,
    /// Whether the target itself stops new logins or calls at the lease's expiry.
    pub expires_in_target: bool,
    /// Whether its end can be moved.
    #[serde(default = "yes")]
    pub renewable: bool,
    /// The latest moment at which it ends, whatever the role allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_by: Option<Timestamp>,
    /// How much later than its expiry the target may end it, by its own clock.
    #[serde(default, skip_serializing_if = "Duration::is_zero")]
    pub slack: Duration,
    /// The finite space in the target in which its end is told, such as the policies of one role; see [`Room`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<String>,
    /// What the caller passed: a renewal is decided again with the same.
    #[serde(default)]
    pub params: BTreeMap<String, String>,
    /// The engine's own part.
    pub body: serde_json::Value,
}

/// Plans of before there were credentials that cannot be renewed.
fn yes() -> bool {
    true
}

/// What only the target knew once the credential was made, such as a role's OID. No secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt(pub serde_json::Value);

/// One credential to make.
#[derive(Debug, Clone)]
pub struct MintOrder {
    /// What to make.
    pub plan: Plan,
    /// The target's own expiry is set to this.
    pub expires_at: Timestamp,
    /// Not to be made after this moment of the target's clock: past it, what is not there can never come to be.
    pub deadline: Timestamp,
}

/// One credential that was made.
#[derive(Debug)]
pub struct Minted {
    /// For the caller, once.
    pub credential: Credential,
    /// For the row.
    pub receipt: Receipt,
}

/// One expiry to move.
#[derive(Debug, Clone)]
pub struct RenewOrder {
    /// What was made.
    pub plan: Plan,
    /// What the target said when it was made.
    pub receipt: Receipt,
    /// The new expiry.
    pub expires_at: Timestamp,
}

/// One credential to end.
#[derive(Debug, Clone)]
pub struct RevokeOrder {
    /// What was to be made.
    pub plan: Plan,
    /// What the target said when it was made; `None` when that was never heard.
    pub receipt: Option<Receipt>,
    /// The deadline of its mint: without a receipt, "not there" proves nothing before this moment of the target's clock.
    pub mint_deadline: Timestamp,
    /// When it ends by itself, where its target has an expiry.
    pub expires_at: Timestamp,
    /// What its end may take of its plan's room.
    pub room: Room,
}

impl RevokeOrder {
    /// Of a credential that ends as soon as it can be ended.
    pub fn now(plan: Plan, receipt: Option<Receipt>, mint_deadline: Timestamp) -> Self {
        Self { plan, receipt, mint_deadline, expires_at: mint_deadline, room: Room::default() }
    }
}

/// What ending a credential may take of a room: a space in its target, such as that of a policy, which is finite and in which the
/// ends of others stand too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Room {
    /// Whether it may take a place.
    pub place: Place,
    /// Whose ends are told there already and are not over; what the room is to hold is these and those of the batch.
    pub standing: Vec<Standing>,
    /// All credentials of the room that were made before this moment are to end, ours or not (an operator's order).
    pub cut: Option<Timestamp>,
}

/// Whether an end may take a place in a room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Place {
    /// Nobody asked for its end: its time is up.
    #[default]
    NotAsked,
    /// It may.
    Free,
    /// Its identity has had its share, which is this many.
    ShareUsed(u64),
}

/// An end that is told in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Whose.
    pub account: AccountName,
    /// Told until then.
    pub until: Timestamp,
    /// By a cut.
    pub cut: Option<Timestamp>,
}

/// How a credential was ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It is dead: gone, or never made with nothing left that could still make it.
    Dead,
    /// It ended by the target's own clock.
    Expired,
    /// What there is to do is done, and it is not dead yet: it ends by the target's own clock, at the latest (law 5). To be looked at again.
    Told {
        /// What was done and what that is worth, for its holder.
        notice: Reason,
        /// Whether it takes a place in its room.
        placed: bool,
        /// When to look again.
        look_again: Timestamp,
    },
}

/// Whose accounts to list.
#[derive(Debug, Clone)]
pub struct Mark {
    /// Our cluster.
    pub cluster: ClusterName,
    /// Our store.
    pub tag: StoreTag,
}

/// What a target holds under our mark.
#[derive(Debug)]
pub enum Listing {
    /// One page.
    Page {
        /// The accounts, in the order of their names. Those of other tags of our cluster are among them.
        accounts: Vec<Listed>,
        /// Where the next page starts; `None` when this was the last.
        next: Option<String>,
    },
    /// This kind of target has nothing to list.
    NotListable,
}

/// One account in a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub account: AccountName,
    /// The target's own id for it, if it has one.
    pub id: Option<String>,
    /// When it ends by the target's own clock, if it does.
    pub expires_at: Option<Timestamp>,
    /// The receipt that its mint would have answered with, if that can be told from what is listed.
    pub receipt: Option<Receipt>,
}
