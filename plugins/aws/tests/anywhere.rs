//! The broker logs in by its SVID: at a Roles Anywhere that verifies as AWS documents it, and with the session that it gives at STS.

use std::sync::Arc;

use async_trait::async_trait;
use leasehold_aws::Aws;
use leasehold_sdk::{
    CloudAssertion, Engine, EngineError, EngineKind, Fingerprint, Host, JwtOrder, SvidKey, SvidSigner, TargetContext,
    Withdrawal,
};
use leasehold_testkit::{ChainedSvid, Moto, RequestKey, RequestSigner, RolesAnywhere};
use secrecy::SecretString;
use serde_json::{Value, json};

/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:1";

/// A core that has an SVID and nothing else.
struct Core {
    svid: Arc<ChainedSvid>,
    forges: bool,
}

/// The SVID; one that forges signs a text that nobody sent.
struct Svid {
    signer: RequestSigner,
    forges: bool,
}

impl SvidSigner for Svid {
    fn chain(&self) -> &[Vec<u8>] {
        self.signer.chain()
    }

    fn serial(&self) -> &str {
        self.signer.serial()
    }

    fn key(&self) -> SvidKey {
        match self.signer.key() {
            RequestKey::Ecdsa => SvidKey::Ecdsa,
            RequestKey::Rsa => SvidKey::Rsa,
        }
    }

    fn sign(&self, text: &str) -> Result<Vec<u8>, EngineError> {
        let text = if self.forges { format!("{text}0") } else { text.to_owned() };
        self.signer.sign(&text).map_err(|e| EngineError::refused(e.to_string()))
    }
}

#[async_trait]
impl Host for Core {
    async fn sign_jwt(&self, _: JwtOrder) -> Result<SecretString, EngineError> {
        Err(EngineError::refused("there is no issuer"))
    }

    async fn withdraw(&self, _: &[Withdrawal]) -> Result<(), EngineError> {
        Err(EngineError::refused("there is no issuer"))
    }

    fn cloud_issuer(&self) -> Option<String> {
        None
    }

    async fn assert(&self, _: CloudAssertion) -> Result<SecretString, EngineError> {
        Err(EngineError::refused("there is no issuer"))
    }

    fn svid(&self) -> Result<Arc<dyn SvidSigner>, EngineError> {
        Ok(Arc::new(Svid { signer: self.svid.signer(), forges: self.forges }))
    }
}

/// A target at this Roles Anywhere and this STS, changed as wanted.
fn engine(host: Core, anywhere: &str, sts: &str, change: &Value) -> Arc<dyn Engine> {
    let mut settings = json!({
        "region": RolesAnywhere::REGION, "auth": "roles_anywhere", "role_arn": RolesAnywhere::ROLE,
        "trust_anchor_arn": RolesAnywhere::TRUST_ANCHOR, "profile_arn": RolesAnywhere::PROFILE,
        "endpoint": sts, "roles_anywhere_endpoint": anywhere,
    });
    let Value::Object(settings) = &mut settings else { unreachable!() };
    settings.extend(change.as_object().cloned().unwrap_or_default());
    let context = TargetContext {
        target: "account".into(),
        cluster: "test".parse().unwrap(),
        instance: "i1".into(),
        base_dir: ".".into(),
    };
    Aws::new(Arc::new(host)).target(context, settings.clone()).unwrap()
}

/// What an operator is told of a login that fails.
async fn told(host: Core, anywhere: &RolesAnywhere, change: Value) -> String {
    engine(host, &anywhere.endpoint(), NOWHERE, &change).fingerprint().await.unwrap_err().to_string()
}

fn honest(svid: &Arc<ChainedSvid>) -> Core {
    Core { svid: svid.clone(), forges: false }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_logs_in_by_either_kind_of_key() {
    let moto = Moto::start().await;
    for kind in [RequestKey::Ecdsa, RequestKey::Rsa] {
        let svid = Arc::new(ChainedSvid::new(kind));
        let anywhere = RolesAnywhere::start(svid.root_pem(), false).await;
        let engine = engine(honest(&svid), &anywhere.endpoint(), &moto.endpoint(), &json!({}));
        assert_eq!(engine.fingerprint().await.unwrap(), Fingerprint("aws:123456789012".into()), "{kind:?}");
        let asked = moto.calls_of("GetCallerIdentity").pop().unwrap();
        assert!(asked.key.starts_with("ASIA") && asked.with_token, "by the session that it bought: {asked:?}");
    }
    assert_eq!(moto.calls_of("GetCallerIdentity").len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_log_in_is_told_what_to_look_at() {
    let svid = Arc::new(ChainedSvid::new(RequestKey::Ecdsa));
    let anywhere = RolesAnywhere::start(svid.root_pem(), false).await;

    let forged = told(Core { svid: svid.clone(), forges: true }, &anywhere, json!({})).await;
    assert!(forged.contains("CreateSession (AccessDeniedException)") && forged.contains("does not match"), "{forged}");

    let stranger = told(honest(&Arc::new(ChainedSvid::new(RequestKey::Rsa))), &anywhere, json!({})).await;
    for hint in ["Untrusted signing certificate", "trust anchor", "profile is enabled", "rolesanywhere.amazonaws.com"] {
        assert!(stranger.contains(hint), "{hint}: {stranger}");
    }

    let other = json!({ "role_arn": "arn:aws:iam::123456789012:role/other" });
    let role = told(honest(&svid), &anywhere, other).await;
    assert!(role.contains("Unable to assume role") && role.contains("trust policy"), "{role}");

    let other = json!({ "profile_arn": "arn:aws:rolesanywhere:us-east-1:123456789012:profile/other" });
    let profile = told(honest(&svid), &anywhere, other).await;
    assert!(profile.contains("ResourceNotFoundException") && profile.contains("profile_arn"), "{profile}");

    let elsewhere = told(honest(&svid), &anywhere, json!({ "region": "eu-central-1" })).await;
    assert!(elsewhere.contains("another region"), "{elsewhere}");

    let nobody = engine(honest(&svid), NOWHERE, NOWHERE, &json!({})).fingerprint().await.unwrap_err().to_string();
    assert!(nobody.contains("CreateSession got no answer"), "{nobody}");
}
