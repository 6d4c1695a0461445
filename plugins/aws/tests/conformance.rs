//! The suite that every engine runs, for users: sessions have no end but AWS's clock and a Deny.

use std::sync::Arc;

use async_trait::async_trait;
use leasehold_sdk::conformance::{Probe, Subject, run};
use leasehold_sdk::{AccountName, Credential, Engine, Mark, RoleSettings};
use leasehold_testkit::{AwsKey, Moto};
use serde_json::json;

use crate::bed::{Bed, Target, key};

#[tokio::test(flavor = "multi_thread")]
async fn users() {
    let mut bed = Bed::new().await;
    // An assertion buys nothing once moto authorizes: it takes no unsigned calls then.
    bed.target.engine.fingerprint().await.unwrap();
    bed.moto.authorize().await;
    run(&Users { moto: Arc::new(bed.moto), target: bed.target }).await;
}

struct Users {
    moto: Arc<Moto>,
    target: Target,
}

#[async_trait]
impl Subject for Users {
    fn engine(&self) -> &dyn Engine {
        self.target.engine.as_ref()
    }

    fn mark(&self) -> &Mark {
        &self.target.mark
    }

    fn role(&self) -> RoleSettings {
        self.target.role(json!({ "method": "iam_user" }))
    }

    fn role_with_param(&self) -> Option<RoleSettings> {
        None
    }

    async fn param(&self, _: &AccountName) -> Option<String> {
        None
    }

    async fn login(&self, credential: &Credential) -> Result<Box<dyn Probe>, String> {
        let probe = Asks { key: key(credential), moto: self.moto.clone() };
        let who = who(&self.moto, &probe.key).await?;
        assert!(who.contains(":user/leasehold/"), "{who}");
        Ok(Box::new(probe))
    }

    async fn exists(&self, account: &AccountName) -> bool {
        self.moto.call("iam", "GetUser", json!({ "UserName": account.to_string() })).await.is_ok()
    }
}

async fn who(moto: &Moto, key: &AwsKey) -> Result<String, String> {
    let said = moto.call_as(key, "sts", "GetCallerIdentity", json!({})).await;
    said.map(|answer| answer["Arn"].as_str().unwrap().to_owned()).map_err(|refusal| refusal.code)
}

struct Asks {
    key: AwsKey,
    moto: Arc<Moto>,
}

#[async_trait]
impl Probe for Asks {
    async fn is_alive(&mut self) -> bool {
        who(&self.moto, &self.key).await.is_ok()
    }
}
