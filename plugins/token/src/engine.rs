//! The engine of one audience.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;
use leasehold_sdk::{
    AccountName, Credential, Engine, EngineError, Finding, Fingerprint, Host, Listing, Mark, MintOrder, Minted, Plan,
    PlanRequest, Receipt, RenewOrder, Revocable, RevokeOrder, RoleContext, RoleSettings, SettingError, Settings, Throughput,
    TokenCredential, clock,
};

use crate::plan::{self, Body};
use crate::role::RoleConfig;
use crate::target::TargetConfig;

/// The media type of an access token (RFC 9068 section 2.1), without `application/`.
const ACCESS_TOKEN: &str = "at+jwt";

/// Signatures are made one after the other on each core: a batch of many would only make its first wait for its last.
const THROUGHPUT: Throughput =
    Throughput { mint_lanes: 4, mint_batch_max: 16, revoke_lanes: 1, revoke_batch_max: 1000 };

pub(crate) struct TokenEngine {
    config: TargetConfig,
    host: Arc<dyn Host>,
}

impl TokenEngine {
    pub(crate) fn new(config: TargetConfig, host: Arc<dyn Host>) -> Self {
        Self { config, host }
    }

    fn here(&self) -> Fingerprint {
        Fingerprint(format!("token:{}", self.config.audience))
    }

    async fn sign(&self, order: &MintOrder) -> Result<Minted, EngineError> {
        let now = clock::wall();
        if order.plan.fingerprint != self.here() {
            return Err(EngineError::refused("the token was planned for another audience"));
        }
        // Past its deadline nobody waits for it any more.
        if now > order.deadline || order.expires_at <= now {
            return Err(EngineError::refused("the time in which it had to be signed is over"));
        }
        let body = Body::of(&order.plan)?;
        let access_token = self.host.sign_jwt(body.algorithm, ACCESS_TOKEN, body.claims(order, now)).await?;
        let token = TokenCredential { access_token, token_type: "Bearer".to_owned(), scope: body.scope };
        Ok(Minted { credential: Credential::Token(token), receipt: Receipt(serde_json::Value::Null) })
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

    /// The state of its lease is all that there is to end: whoever asks is told.
    async fn revoke(&self, orders: &[RevokeOrder]) -> Vec<Result<(), EngineError>> {
        orders.iter().map(|_| Ok(())).collect()
    }

    async fn list(&self, _: &Mark, _: Option<&str>, _: usize) -> Result<Listing, EngineError> {
        Ok(Listing::NotListable)
    }

    async fn check(&self, _: &[(String, RoleSettings)]) -> Vec<Finding> {
        Vec::new()
    }
}
