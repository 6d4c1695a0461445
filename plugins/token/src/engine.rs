//! The engine of one audience.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;
use leasehold_sdk::{
    AccountName, ClusterName, Credential, Ending, Engine, EngineError, Finding, Fingerprint, Host, JwtAlgorithm,
    Listing, Mark, MintOrder, Minted, Plan, PlanRequest, RenewOrder, Revocable, RevokeOrder, RoleContext, RoleSettings,
    SettingError, Settings, Throughput, TokenCredential, TokenTarget, clock,
};

use crate::plan::{self, Body};
use crate::role::RoleConfig;
use crate::target::TargetConfig;

/// Signatures are made one after the other on each core: a batch of many would only make its first wait for its last.
const THROUGHPUT: Throughput =
    Throughput { mint_lanes: 4, mint_batch_max: 16, revoke_lanes: 1, revoke_batch_max: 1000 };

pub(crate) struct TokenEngine {
    config: TargetConfig,
    cluster: ClusterName,
    host: Arc<dyn Host>,
}

impl TokenEngine {
    pub(crate) fn new(config: TargetConfig, cluster: ClusterName, host: Arc<dyn Host>) -> Self {
        Self { config, cluster, host }
    }

    fn here(&self) -> Fingerprint {
        Fingerprint(format!("token:{}", self.config.audience))
    }

    /// Whether a plan is one of this target's: a row may have been edited (law 10).
    fn is_ours(&self, plan: &Plan) -> Result<(), EngineError> {
        let here = self.here();
        if plan.fingerprint != here {
            let why = format!("the token was planned for {:?}, and this is {:?}", plan.fingerprint.0, here.0);
            return Err(EngineError::refused(why));
        }
        if *plan.account.cluster() != self.cluster {
            return Err(EngineError::refused(format!("{} is the name of another cluster", plan.account)));
        }
        Ok(())
    }

    async fn sign(&self, order: &MintOrder) -> Result<Minted, EngineError> {
        let now = clock::wall();
        self.is_ours(&order.plan)?;
        // Past its deadline nobody waits for it any more.
        if now > order.deadline || order.expires_at <= now {
            return Err(EngineError::refused("the time in which it had to be signed is over"));
        }
        let body = Body::of(&order.plan)?;
        let access_token = self.host.sign_jwt(body.order(order, now)).await?;
        let token = TokenCredential { access_token, token_type: "Bearer".to_owned(), scope: body.scope };
        Ok(Minted { credential: Credential::Token(token), receipt: plan::receipt(order) })
    }
}

#[async_trait]
impl Engine for TokenEngine {
    fn role(&self, context: &RoleContext, settings: Settings) -> Result<RoleSettings, SettingError> {
        Ok(RoleConfig::read(context, settings)?.into_settings())
    }

    fn throughput(&self) -> Throughput {
        THROUGHPUT
    }

    async fn fingerprint(&self) -> Result<Fingerprint, EngineError> {
        Ok(self.here())
    }

    async fn vet(&self, _: &RoleSettings) -> Result<Vec<String>, EngineError> {
        Ok(Vec::new())
    }

    fn plan(&self, request: &PlanRequest<'_>) -> Result<Plan, EngineError> {
        plan::plan(&self.config.audience, request)
    }

    /// There are none: nothing of a token is anywhere but with its holder.
    fn plan_for_stray(&self, account: &AccountName, fingerprint: &Fingerprint) -> Plan {
        Plan {
            account: account.clone(),
            fingerprint: fingerprint.clone(),
            revocable: Revocable::Eventual,
            expires_in_target: true,
            renewable: false,
            ends_by: None,
            room: None,
            slack: std::time::Duration::ZERO,
            params: Default::default(),
            body: serde_json::Value::Null,
        }
    }

    async fn mint(&self, orders: Vec<MintOrder>) -> Vec<Result<Minted, EngineError>> {
        join_all(orders.iter().map(|order| self.sign(order))).await
    }

    async fn renew(&self, orders: &[RenewOrder]) -> Vec<Result<(), EngineError>> {
        orders.iter().map(|_| Err(EngineError::refused("a token cannot be renewed: its end is signed"))).collect()
    }

    /// Whoever asks the broker is told by the state of the lease; here those are told who look at status lists.
    async fn revoke(&self, orders: &[RevokeOrder]) -> Vec<Result<Ending, EngineError>> {
        let now = clock::wall();
        let ours = |order: &RevokeOrder| self.is_ours(&order.plan).and_then(|()| plan::withdrawal(order));
        let ends: Vec<_> = orders.iter().map(ours).collect();
        let ended: Vec<_> = ends.iter().flatten().flatten().filter(|ended| ended.until > now).cloned().collect();
        let told = if ended.is_empty() { Ok(()) } else { self.host.withdraw(&ended).await };
        // What is signed after this is ended already, so that nothing has to wait for the deadline of its mint (law 3).
        ends.into_iter().map(|end| end.and_then(|_| told.clone()).map(|()| Ending::Dead)).collect()
    }

    async fn list(&self, _: &Mark, _: Option<&str>, _: usize) -> Result<Listing, EngineError> {
        Ok(Listing::NotListable)
    }

    fn as_tokens(&self) -> Option<&dyn TokenTarget> {
        Some(self)
    }

    async fn check(&self, _: &[(String, RoleSettings)]) -> Vec<Finding> {
        Vec::new()
    }
}

impl TokenTarget for TokenEngine {
    fn audience(&self) -> &str {
        &self.config.audience
    }

    fn captures(&self, role: &RoleSettings) -> Vec<String> {
        let role = RoleConfig::from_settings(role).ok();
        let claims = role.iter().flat_map(|role| role.claims.values());
        claims.flat_map(|claim| claim.captures().map(str::to_owned).collect::<Vec<_>>()).collect()
    }

    fn scopes(&self, role: &RoleSettings) -> Vec<String> {
        RoleConfig::from_settings(role).map_or_else(|_| Vec::new(), |role| role.scopes)
    }

    fn algorithm(&self, role: &RoleSettings) -> Option<JwtAlgorithm> {
        RoleConfig::from_settings(role).ok().map(|role| role.algorithm)
    }
}
