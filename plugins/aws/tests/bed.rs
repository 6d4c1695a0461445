//! An account with its engine, for one test.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use leasehold_aws::Aws;
use leasehold_sdk::{
    AccountName, AwsCredential, Caller, CloudAssertion, Credential, Ending, Engine, EngineError, EngineKind,
    Fingerprint, Host, JwtOrder, LeaseId, Mark, MintOrder, Minted, Plan, PlanRequest, Receipt, RevokeOrder,
    RoleContext, RoleSettings, SettingError, Settings, StoreTag, SvidSigner, TargetContext, Timestamp, Withdrawal,
    clock,
};
use leasehold_testkit::{AwsKey, Moto, unique};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// Moto's account.
pub const ACCOUNT: &str = "123456789012";

/// The broker's own role.
pub const OWN_ROLE: &str = "arn:aws:iam::123456789012:role/leasehold";

/// Whose credentials they are.
pub const CALLER: &str = "spiffe://prod.example.org/ns/billing";

/// What AWS is told by the broker's word.
pub const ASSERTION: &str = "e30.e30.c2lnbmF0dXJl";

/// The core, as far as the engine asks it.
pub struct TestHost {
    pub issuer: Option<String>,
    pub said: Mutex<Vec<CloudAssertion>>,
}

#[async_trait]
impl Host for TestHost {
    async fn sign_jwt(&self, _: JwtOrder) -> Result<SecretString, EngineError> {
        Err(EngineError::refused("this engine makes no tokens"))
    }

    async fn withdraw(&self, _: &[Withdrawal]) -> Result<(), EngineError> {
        Err(EngineError::refused("this engine makes no tokens"))
    }

    fn cloud_issuer(&self) -> Option<String> {
        self.issuer.clone()
    }

    async fn assert(&self, assertion: CloudAssertion) -> Result<SecretString, EngineError> {
        self.said.lock().unwrap().push(assertion);
        Ok(ASSERTION.into())
    }

    fn svid(&self) -> Result<Arc<dyn SvidSigner>, EngineError> {
        Err(EngineError::retry("there is no SVID"))
    }
}

/// An engine on some endpoint.
pub struct Target {
    pub engine: Arc<dyn Engine>,
    pub host: Arc<TestHost>,
    pub mark: Mark,
    pub dir: TempDir,
}

impl Target {
    /// By an assertion, with more settings. `issuer` is no setting: it is the host's.
    pub fn new(endpoint: &str, more: Value) -> Self {
        let mut settings = object(json!({ "region": "eu-central-1", "auth": "web_identity", "endpoint": endpoint }));
        settings.extend(object(more));
        let issuer = settings.remove("issuer").unwrap_or_else(|| json!("https://leasehold.example.org/cloud"));
        let host = Arc::new(TestHost { issuer: issuer.as_str().map(str::to_owned), said: Mutex::default() });
        let mark = Mark { cluster: unique("c").replace('_', "-").parse().unwrap(), tag: StoreTag::new() };
        let dir = tempfile::tempdir().unwrap();
        let context = TargetContext {
            target: "cloud".into(),
            cluster: mark.cluster.clone(),
            instance: "test".into(),
            base_dir: dir.path().to_owned(),
        };
        let engine = Aws::new(host.clone()).target(context, settings).unwrap();
        Self { engine, host, mark, dir }
    }

    /// A file beside the configuration.
    pub fn file(&self, name: &str, document: &Value) -> Value {
        std::fs::write(self.dir.path().join(name), document.to_string()).unwrap();
        json!({ "file": name })
    }

    /// A role whose credentials live an hour.
    pub fn role(&self, settings: Value) -> RoleSettings {
        self.try_role(settings, 3600).unwrap()
    }

    /// One whose credentials live so many seconds.
    pub fn try_role(&self, settings: Value, seconds: u64) -> Result<RoleSettings, SettingError> {
        let life = Duration::from_secs(seconds);
        let context = RoleContext { role: "invoices".into(), params: Vec::new(), ttl: life, max_ttl: life };
        self.engine.role(&context, object(settings))
    }

    pub fn plan_in(&self, role: &RoleSettings, fingerprint: &Fingerprint) -> Plan {
        let lease = LeaseId::new();
        let account = AccountName::new(self.mark.cluster.clone(), self.mark.tag.clone(), lease);
        let caller = Caller {
            spiffe_id: CALLER.into(),
            cert_sha256: "00".into(),
            not_after: soon(3600),
            params: Default::default(),
            captured: Default::default(),
            behalf: None,
        };
        let request = PlanRequest {
            lease,
            account: &account,
            role: "invoices",
            settings: role,
            caller: &caller,
            fingerprint,
            scope: None,
            slot: None,
        };
        self.engine.plan(&request).unwrap()
    }

    /// A plan for a new lease.
    pub async fn plan(&self, role: &RoleSettings) -> Plan {
        self.plan_in(role, &self.engine.fingerprint().await.unwrap())
    }

    /// Carries out a plan of an hour.
    pub async fn mint_plan(&self, plan: &Plan) -> Result<Minted, EngineError> {
        self.mint_for(plan, 3600).await
    }

    /// Carries out a plan of so many seconds.
    pub async fn mint_for(&self, plan: &Plan, seconds: u64) -> Result<Minted, EngineError> {
        let order = MintOrder { plan: plan.clone(), expires_at: soon(seconds), deadline: soon(30) };
        self.engine.mint(vec![order]).await.remove(0)
    }

    /// Makes one of an hour.
    pub async fn mint(&self, role: &RoleSettings) -> Made {
        let plan = self.plan(role).await;
        let minted = self.mint_plan(&plan).await.unwrap_or_else(|e| panic!("mint: {e}"));
        Made { plan, receipt: minted.receipt, key: key(&minted.credential) }
    }

    /// Ends one.
    pub async fn revoke(&self, order: RevokeOrder) -> Result<Ending, EngineError> {
        self.engine.revoke(&[order]).await.remove(0)
    }
}

/// One that was made.
pub struct Made {
    pub plan: Plan,
    pub receipt: Receipt,
    pub key: AwsKey,
}

impl Made {
    /// The order that ends it.
    pub fn order(&self) -> RevokeOrder {
        let order = RevokeOrder::now(self.plan.clone(), Some(self.receipt.clone()), soon(30));
        RevokeOrder { expires_at: soon(3600), ..order }
    }

    /// How its session is known.
    pub fn lease(&self) -> String {
        self.plan.account.lease().to_string()
    }

    pub fn name(&self) -> String {
        self.plan.account.to_string()
    }
}

/// An engine with a login of its own in moto, which has its role.
pub struct Bed {
    pub moto: Moto,
    pub target: Target,
}

impl Bed {
    pub async fn new() -> Self {
        let moto = Moto::start().await;
        moto.create_role("leasehold", &allow("*")).await;
        let all = json!({ "RoleName": "leasehold", "PolicyName": "all", "PolicyDocument": allow("*").to_string() });
        moto.call("iam", "PutRolePolicy", all).await.unwrap();
        let target = Target::new(&moto.endpoint(), json!({ "role_arn": OWN_ROLE }));
        Self { moto, target }
    }

    /// What moto was told by the last call of an action.
    pub fn last(&self, action: &str) -> std::collections::BTreeMap<String, String> {
        self.moto.calls_of(action).pop().unwrap_or_else(|| panic!("no {action}")).params
    }
}

/// A policy that allows one action.
pub fn allow(action: &str) -> Value {
    policy(json!([{ "Effect": "Allow", "Action": action, "Resource": "*" }]))
}

pub fn policy(statements: Value) -> Value {
    json!({ "Version": "2012-10-17", "Statement": statements })
}

pub fn key(credential: &Credential) -> AwsKey {
    let AwsCredential { access_key_id, secret_access_key, session_token, region } = match credential {
        Credential::Aws(aws) => aws,
        _ => panic!("keys of AWS"),
    };
    assert_eq!(region, "eu-central-1");
    AwsKey {
        id: access_key_id.clone(),
        secret: secret_access_key.expose_secret().to_owned(),
        token: session_token.as_ref().map(|token| token.expose_secret().to_owned()),
    }
}

/// A moment so many seconds from now.
pub fn soon(seconds: u64) -> Timestamp {
    clock::wall().plus(Duration::from_secs(seconds))
}

/// A moment so many seconds ago.
pub fn ago(seconds: u64) -> Timestamp {
    clock::wall().minus(Duration::from_secs(seconds))
}

pub fn object(value: Value) -> Settings {
    match value {
        Value::Object(map) => map,
        Value::Null => Map::new(),
        other => panic!("{other} is no table"),
    }
}

/// What the engine says of moto's account.
pub fn account() -> Fingerprint {
    Fingerprint(format!("aws:{ACCOUNT}"))
}
