//! A plugin for tests of the configuration: it knows `url` and the role key `member_of`, and touches nothing.

use std::sync::Arc;

use async_trait::async_trait;
use leasehold_sdk::*;

/// `plugin = "fake"`.
pub(super) struct Fake;

struct FakeEngine;

impl EngineKind for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn credential_kind(&self) -> &'static str {
        "database"
    }

    fn target(&self, _: TargetContext, settings: Settings) -> Result<Arc<dyn Engine>, SettingError> {
        only(&settings, &["url", "tls"])?;
        if settings.get("tls").is_some_and(|tls| tls.get("ca").is_some_and(|ca| !ca.is_string())) {
            return Err(SettingError::new("tls.ca", "must be a\n  path"));
        }
        match settings.get("url").and_then(|url| url.as_str()) {
            Some(_) => Ok(Arc::new(FakeEngine)),
            None => Err(SettingError::new("url", "is missing")),
        }
    }
}

fn only(settings: &Settings, known: &[&str]) -> Result<(), SettingError> {
    match settings.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(SettingError::new(key.clone(), "is no setting of the fake plugin")),
        None => Ok(()),
    }
}

#[async_trait]
impl Engine for FakeEngine {
    fn role(&self, _: &RoleContext, settings: Settings) -> Result<RoleSettings, SettingError> {
        only(&settings, &["member_of"])?;
        Ok(RoleSettings(settings.into()))
    }

    fn throughput(&self) -> Throughput {
        Throughput { mint_lanes: 1, mint_batch_max: 1, revoke_lanes: 1, revoke_batch_max: 1 }
    }

    async fn fingerprint(&self) -> Result<Fingerprint, EngineError> {
        Err(EngineError::retry("there is no target"))
    }

    async fn vet(&self, _: &RoleSettings) -> Result<Vec<String>, EngineError> {
        Ok(Vec::new())
    }

    fn plan(&self, _: &PlanRequest<'_>) -> Result<Plan, EngineError> {
        Err(EngineError::refused("there is no target"))
    }

    fn plan_for_stray(&self, account: &AccountName, fingerprint: &Fingerprint) -> Plan {
        Plan {
            account: account.clone(),
            fingerprint: fingerprint.clone(),
            revocable: Revocable::None,
            expires_in_target: false,
            renewable: true,
            ends_by: None,
            room: None,
            slack: std::time::Duration::ZERO,
            params: Default::default(),
            body: serde_json::Value::Null,
        }
    }

    async fn mint(&self, orders: Vec<MintOrder>) -> Vec<Result<Minted, EngineError>> {
        orders.iter().map(|_| Err(EngineError::refused("there is no target"))).collect()
    }

    async fn renew(&self, orders: &[RenewOrder]) -> Vec<Result<(), EngineError>> {
        orders.iter().map(|_| Ok(())).collect()
    }

    async fn revoke(&self, orders: &[RevokeOrder]) -> Vec<Result<Ending, EngineError>> {
        orders.iter().map(|_| Ok(Ending::Dead)).collect()
    }

    async fn list(&self, _: &Mark, _: Option<&str>, _: usize) -> Result<Listing, EngineError> {
        Ok(Listing::NotListable)
    }

    async fn check(&self, _: &[(String, RoleSettings)]) -> Vec<Finding> {
        Vec::new()
    }
}
