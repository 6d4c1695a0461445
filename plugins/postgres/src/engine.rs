//! The engine of one target: a table of contents of what it can do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use leasehold_sdk::{
    AccountName, AdminSecrets, ClusterName, Ending, Engine, EngineError, Finding, Fingerprint, Listing, Mark,
    MintOrder, Minted, Plan, PlanRequest, RenewOrder, Revocable, RevokeOrder, RoleContext, RoleSettings, SettingError,
    Settings, TargetContext, Throughput,
};

use secrecy::SecretString;

use crate::config::{Admin, TargetConfig};
use crate::last_resort::LastResort;
use crate::plan::PlanBody;
use crate::replica::Replica;
use crate::role::RoleConfig;
use crate::session::{REVOKE_LANES, Session, Sessions};
use crate::statements::Statements;
use crate::{admin, list, mark, mint, revoke, rights};

/// Over this many PBKDF2 iterations a mint costs the server so much that sharing a commit no longer matters.
const ITERATIONS_BATCHED_MAX: u32 = 1_024;

/// One PostgreSQL server.
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) cluster: ClusterName,
    instance: String,
    pub(crate) config: Arc<TargetConfig>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) last_resort: Arc<LastResort>,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) statements: Statements,
    /// Whether the group and the estate role are known to be there.
    marked: AtomicBool,
}

impl Target {
    pub(crate) fn new(context: TargetContext, settings: Settings) -> Result<Self, SettingError> {
        let config = Arc::new(TargetConfig::read(settings, &context.base_dir)?);
        Self::of(context.target, context.cluster, context.instance, config)
    }

    fn of(
        name: String,
        cluster: ClusterName,
        instance: String,
        config: Arc<TargetConfig>,
    ) -> Result<Self, SettingError> {
        let statements = Statements::new(&config.admin, &mark_name(&cluster))
            .map_err(|e| SettingError::new("functions_schema", e.to_string()))?;
        let sessions = Arc::new(Sessions::new(Arc::clone(&config), &cluster, &instance));
        // Of the form of an account's name, which the functions demand.
        let nobody = format!("lh_{cluster}_0000_{:026}", 0);
        let touch = statements.touch(&nobody).map_err(|e| SettingError::new("functions_schema", e.to_string()))?;
        Ok(Self {
            last_resort: LastResort::new(Arc::clone(&sessions), touch, call_limit(&config)),
            replicas: Replica::all(&config, &sessions, &cluster, &instance),
            sessions,
            name,
            cluster,
            instance,
            marked: AtomicBool::new(false),
            statements,
            config,
        })
    }

    /// How long the client waits for one message: longer than the server allows it to take, so that the server's own word
    /// on a slow statement arrives.
    pub(crate) fn call_limit(&self) -> Duration {
        call_limit(&self.config)
    }

    /// A session for mints, on a server that has our group and estate role.
    pub(crate) async fn mint_session(&self) -> Result<Session, EngineError> {
        let mut session = self.sessions.mint(self.call_limit()).await?;
        // It has to stand before there is an account that could make it necessary.
        self.last_resort.stand_by().await;
        if !self.marked.load(Ordering::Acquire) {
            mark::ensure(self, &mut session).await?;
            self.marked.store(true, Ordering::Release);
        }
        Ok(session)
    }

    /// A session to end accounts with.
    pub(crate) async fn ending_session(&self) -> Result<Session, EngineError> {
        let session = self.sessions.ending(self.call_limit()).await?;
        self.last_resort.stand_by().await;
        Ok(session)
    }

    /// A session for everything else.
    pub(crate) async fn other_session(&self) -> Result<Session, EngineError> {
        self.sessions.other(self.call_limit()).await
    }

    /// Looks for the group and the estate role again before the next mint.
    pub(crate) fn forget_mark(&self) {
        self.marked.store(false, Ordering::Release);
    }

    /// The refusal of a plan that is for another server.
    pub(crate) fn foreign(&self, plan: &Plan, here: &Fingerprint) -> EngineError {
        EngineError::refused(format!(
            "{} was made in {}, but target {} is {} now; if that server is gone for good, run `leasehold target forget {}`",
            plan.account, plan.fingerprint.0, self.name, here.0, self.name
        ))
    }
}

fn call_limit(config: &TargetConfig) -> Duration {
    config.statement_timeout + Duration::from_secs(2)
}

/// The group that every account of a cluster is a member of.
pub(crate) fn mark_name(cluster: &ClusterName) -> String {
    format!("lh_{cluster}")
}

/// The role without login and without any privilege that gets what accounts leave behind.
pub(crate) fn estate_name(cluster: &ClusterName) -> String {
    format!("lh_{cluster}_estate")
}

#[async_trait]
impl Engine for Target {
    fn role(&self, context: &RoleContext, settings: Settings) -> Result<RoleSettings, SettingError> {
        Ok(RoleConfig::read(context, settings, &self.config.address.database)?.into_settings())
    }

    fn throughput(&self) -> Throughput {
        // Measured: below this count a shared commit wins an order of magnitude; above it the verifier's check is all.
        let batched = self.config.scram_iterations.get() < ITERATIONS_BATCHED_MAX;
        Throughput {
            mint_lanes: self.config.connections,
            mint_batch_max: if batched { 64 } else { 1 },
            revoke_lanes: REVOKE_LANES,
            revoke_batch_max: 200,
        }
    }

    async fn fingerprint(&self) -> Result<Fingerprint, EngineError> {
        self.sessions.fingerprint(self.call_limit()).await
    }

    async fn vet(&self, role: &RoleSettings) -> Result<Vec<String>, EngineError> {
        let role = RoleConfig::from_settings(role).map_err(EngineError::refused)?;
        rights::vet(self, &role).await
    }

    fn plan(&self, request: &PlanRequest<'_>) -> Result<Plan, EngineError> {
        let role = RoleConfig::from_settings(request.settings).map_err(EngineError::refused)?;
        for (name, value) in &request.caller.params {
            crate::quote::quote_literal(value)
                .map_err(|e| EngineError::refused(format!("the param {name:?} cannot be used: {e}")))?;
        }
        let body = PlanBody::new(&role, &self.config.address.database);
        Ok(Plan { params: request.caller.params.clone(), ..plan(request.account, request.fingerprint, body) })
    }

    fn plan_for_stray(&self, account: &AccountName, fingerprint: &Fingerprint) -> Plan {
        plan(account, fingerprint, PlanBody::for_stray(&self.config.address.database))
    }

    async fn mint(&self, orders: Vec<MintOrder>) -> Vec<Result<Minted, EngineError>> {
        mint::mint(self, orders).await
    }

    async fn renew(&self, orders: &[RenewOrder]) -> Vec<Result<(), EngineError>> {
        mint::renew(self, orders).await
    }

    async fn revoke(&self, orders: &[RevokeOrder]) -> Vec<Result<Ending, EngineError>> {
        revoke::revoke(self, orders).await.into_iter().map(|dead| dead.map(|()| Ending::Dead)).collect()
    }

    async fn list(&self, mark: &Mark, after: Option<&str>, limit: usize) -> Result<Listing, EngineError> {
        list::list(self, mark, after, limit).await
    }

    fn as_cluster(&self, cluster: &ClusterName) -> Result<Arc<dyn Engine>, EngineError> {
        let other = Self::of(self.name.clone(), cluster.clone(), self.instance.clone(), Arc::clone(&self.config));
        Ok(Arc::new(other.map_err(|e| EngineError::refused(format!("{}: {}", e.key, e.why)))?))
    }

    async fn check(&self, roles: &[(String, RoleSettings)]) -> Vec<Finding> {
        rights::check(self, &read_roles(roles)).await
    }

    fn admin_secrets(&self) -> Option<&AdminSecrets> {
        Some(&self.sessions.admin)
    }

    async fn set_admin_password(&self, next: &SecretString) -> Result<(), EngineError> {
        admin::set_password(self, next).await
    }

    fn install_sql(&self, roles: &[(String, RoleSettings)]) -> Option<String> {
        matches!(self.config.admin, Admin::Functions { .. }).then(|| rights::install_sql(self, &read_roles(roles)))
    }
}

fn plan(account: &AccountName, fingerprint: &Fingerprint, body: PlanBody) -> Plan {
    Plan {
        account: account.clone(),
        fingerprint: fingerprint.clone(),
        revocable: Revocable::Immediate,
        expires_in_target: true,
        renewable: true,
        ends_by: None,
        room: None,
        slack: Duration::ZERO,
        params: BTreeMap::new(),
        body: body.into_value(),
    }
}

fn read_roles(roles: &[(String, RoleSettings)]) -> Vec<(String, RoleConfig)> {
    roles.iter().filter_map(|(name, r)| Some((name.clone(), RoleConfig::from_settings(r).ok()?))).collect()
}
