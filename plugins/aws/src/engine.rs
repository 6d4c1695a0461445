//! The engine of one account: a table of contents of what it can do.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;
use leasehold_sdk::{
    AccountName, ClusterName, Ending, Engine, EngineError, Finding, Fingerprint, Host, Listing, Mark, MintOrder,
    Minted, Plan, PlanRequest, RenewOrder, RevokeOrder, RoleContext, RoleSettings, SettingError, Settings,
    TargetContext, Throughput,
};
use tokio::sync::Mutex;

use crate::clients::Clients;
use crate::own::Login;
use crate::plan::{self, Body};
use crate::role::{Method, RoleConfig};
use crate::target::{Auth, TargetConfig};
use crate::{check, ending, session, user};

/// STS takes some hundred calls a second, IAM some ten: a batch is what is under way at once.
const THROUGHPUT: Throughput = Throughput { mint_lanes: 8, mint_batch_max: 4, revoke_lanes: 2, revoke_batch_max: 100 };

/// Users that are ended at once.
const USERS_AT_ONCE: usize = 8;

/// One account of AWS.
pub(crate) struct AwsEngine {
    context: TargetContext,
    pub(crate) config: TargetConfig,
    pub(crate) cluster: ClusterName,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) clients: Clients,
    /// Held while a role's policy is written.
    pub(crate) writing: Mutex<()>,
    pub(crate) tried: check::Tried,
}

impl AwsEngine {
    pub(crate) fn new(context: TargetContext, config: TargetConfig, host: Arc<dyn Host>) -> Self {
        let clients = Clients::new(&config, Login::new(&context, config.clone(), host.clone()));
        let cluster = context.cluster.clone();
        Self { context, config, cluster, host, clients, writing: Mutex::default(), tried: check::Tried::default() }
    }

    /// The name in the configuration.
    pub(crate) fn name(&self) -> &str {
        &self.context.target
    }

    /// Whether a plan is one of this target's: a row may have been edited (law 10).
    fn body(&self, plan: &Plan) -> Result<Body, EngineError> {
        if *plan.account.cluster() != self.cluster {
            return Err(EngineError::refused(format!("{} is the name of another cluster", plan.account)));
        }
        Body::of(plan)
    }

    async fn mint_one(
        &self,
        order: &MintOrder,
        here: &Result<Fingerprint, EngineError>,
    ) -> Result<Minted, EngineError> {
        let body = self.body(&order.plan)?;
        same_account(&order.plan, here)?;
        match body.make.method {
            Method::IamUser { .. } => user::mint(self, order, &body).await,
            _ => session::mint(self, order, &body).await,
        }
    }
}

#[async_trait]
impl Engine for AwsEngine {
    fn role(&self, context: &RoleContext, settings: Settings) -> Result<RoleSettings, SettingError> {
        Ok(RoleConfig::read(context, settings, &self.config, &self.context.base_dir)?.into_settings())
    }

    fn throughput(&self) -> Throughput {
        THROUGHPUT
    }

    async fn fingerprint(&self) -> Result<Fingerprint, EngineError> {
        check::account(self).await
    }

    async fn vet(&self, role: &RoleSettings) -> Result<Vec<String>, EngineError> {
        check::vet(self, role).await
    }

    fn plan(&self, request: &PlanRequest<'_>) -> Result<Plan, EngineError> {
        plan::plan(request)
    }

    fn plan_for_stray(&self, account: &AccountName, fingerprint: &Fingerprint) -> Plan {
        plan::of_stray(account, fingerprint)
    }

    async fn mint(&self, orders: Vec<MintOrder>) -> Vec<Result<Minted, EngineError>> {
        let here = self.fingerprint().await;
        join_all(orders.iter().map(|order| self.mint_one(order, &here))).await
    }

    async fn renew(&self, orders: &[RenewOrder]) -> Vec<Result<(), EngineError>> {
        let here = self.fingerprint().await;
        let renew = async |order: &RenewOrder| match self.body(&order.plan)?.make.method {
            Method::IamUser { .. } => {
                same_account(&order.plan, &here)?;
                user::renew(self, order).await
            }
            _ => Err(EngineError::refused("a session cannot be renewed: its end is AWS's")),
        };
        join_all(orders.iter().map(renew)).await
    }

    async fn revoke(&self, orders: &[RevokeOrder]) -> Vec<Result<Ending, EngineError>> {
        let bodies: Vec<_> = orders.iter().map(|order| self.body(&order.plan)).collect();
        // What ends by the clock alone is looked at although AWS is away.
        let asks = bodies.iter().flatten().any(|body| !plan::ends_by_clock(&body.make.method));
        let here = if asks { self.fingerprint().await } else { Err(EngineError::unknown("it was not asked")) };
        let mut answers: Vec<Option<Result<Ending, EngineError>>> = orders.iter().map(|_| None).collect();
        let (mut users, mut rooms) = (Vec::new(), BTreeMap::<Option<String>, Vec<(usize, Body)>>::new());
        for (at, (order, body)) in orders.iter().zip(bodies).enumerate() {
            match body.and_then(|body| endable(&order.plan, body, &here)) {
                Ok(body) if matches!(body.make.method, Method::IamUser { .. }) => users.push(at),
                Ok(body) => rooms.entry(order.plan.room.clone()).or_default().push((at, body)),
                Err(e) => answers[at] = Some(Err(e)),
            }
        }
        for some in users.chunks(USERS_AT_ONCE) {
            let ended = join_all(some.iter().map(|at| user::revoke(self, &orders[*at]))).await;
            some.iter().zip(ended).for_each(|(at, answer)| answers[*at] = Some(answer));
        }
        for of_room in rooms.into_values() {
            let (at, bodies): (Vec<_>, Vec<_>) =
                of_room.into_iter().map(|(at, body)| (at, (&orders[at], body))).unzip();
            let ended = ending::revoke(self, &bodies).await;
            at.into_iter().zip(ended).for_each(|(at, answer)| answers[at] = Some(answer));
        }
        let none = || Err(EngineError::unknown("it was not looked at"));
        answers.into_iter().map(|answer| answer.unwrap_or_else(none)).collect()
    }

    async fn list(&self, mark: &Mark, after: Option<&str>, limit: usize) -> Result<Listing, EngineError> {
        // Sessions are listed nowhere, and without a login of its own the broker makes no users.
        if !self.config.has_login() {
            return Ok(Listing::NotListable);
        }
        user::list(self, mark, after, limit).await
    }

    fn room(&self, role: &RoleSettings) -> Option<String> {
        RoleConfig::from_settings(role).ok().and_then(|role| plan::room(&role.method))
    }

    fn cut_scope(&self, role: &RoleSettings) -> Option<String> {
        match RoleConfig::from_settings(role).ok()?.method {
            Method::AssumeRole { role_arn, .. } => Some(role_arn),
            _ => None,
        }
    }

    fn asserts_to_cloud(&self) -> bool {
        self.config.auth == Auth::WebIdentity
    }

    /// Sessions are listed nowhere.
    fn is_listed(&self, plan: &Plan) -> bool {
        let user = Body::of(plan).is_ok_and(|body| matches!(body.make.method, Method::IamUser { .. }));
        user && user::is_listed(self, plan)
    }

    fn as_cluster(&self, cluster: &ClusterName) -> Result<Arc<dyn Engine>, EngineError> {
        let context = TargetContext { cluster: cluster.clone(), ..self.context.clone() };
        Ok(Arc::new(Self::new(context, self.config.clone(), self.host.clone())))
    }

    async fn check(&self, roles: &[(String, RoleSettings)]) -> Vec<Finding> {
        check::check(self, roles).await
    }
}

/// Whether a plan is one to end here.
fn endable(plan: &Plan, body: Body, here: &Result<Fingerprint, EngineError>) -> Result<Body, EngineError> {
    // The row's room is the plan's: a plan whose two differ was changed by another hand.
    if plan::room(&body.make.method) != plan.room {
        return Err(EngineError::refused("the plan names another role than its room"));
    }
    if !plan::ends_by_clock(&body.make.method) {
        same_account(plan, here)?;
    }
    Ok(body)
}

/// The account's own word decides: a target that was pointed elsewhere makes and ends nothing there.
fn same_account(plan: &Plan, here: &Result<Fingerprint, EngineError>) -> Result<(), EngineError> {
    let here = here.as_ref().map_err(Clone::clone)?;
    if plan.fingerprint == *here {
        return Ok(());
    }
    let why = format!("it is of {:?}, and this is {:?}: point the target there again", plan.fingerprint.0, here.0);
    Err(EngineError::refused(why))
}
