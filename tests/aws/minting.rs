//! What is asked of AWS, and what comes of it.

use leasehold_client::wire::MintRequest;
use serde_json::{Value, json};

use super::world::{ACCOUNT, DIRECT, INVOICES, ISSUER, LEGACY, PLAIN, World, done, mint};
use crate::stage::BILLING;

#[tokio::test(flavor = "multi_thread")]
async fn a_session_says_whose_it_is_and_ends_with_its_lease() {
    let world = World::new().await;
    let broker = world.broker().await;
    let client = world.stage.client(&broker, BILLING);
    let held = mint(&client, INVOICES).await;
    let lease = &held.lease;
    assert_eq!(
        (lease.revocable.as_str(), lease.renewable, held.key.region.as_str()),
        ("eventual", false, "eu-central-1")
    );
    assert!(lease.worst_case_until.as_ref() > Some(&lease.expires_at), "AWS counts from when it hears");

    let who =
        world.moto.call_as(&held.as_key(), "sts", "get_caller_identity", json!({})).await.expect("it is somebody");
    assert_eq!(who["Arn"], format!("arn:aws:sts::{ACCOUNT}:assumed-role/invoices/{}", lease.id));

    let calls = world.moto.calls_of("AssumeRole");
    let call = calls.iter().find(|call| call.params.get("RoleSessionName") == Some(&lease.id)).expect("the call");
    assert!(call.with_token, "it is asked by the broker's own session");
    let sent = |name: &str| call.params.get(name).map(String::as_str).unwrap_or_default();
    assert_eq!(sent("SourceIdentity"), lease.id);
    assert_eq!((sent("Tags.member.1.Key"), sent("Tags.member.1.Value")), ("team", "billing"));
    assert_eq!(sent("Tags.member.2.Key"), "leasehold:identity");
    assert_eq!(sent("Tags.member.2.Value"), "spiffe://dev.local/billing");
    assert_eq!(sent("TransitiveTagKeys.member.1"), "leasehold:identity");
    assert!(sent("Policy").contains("s3:*"));
    assert_eq!(sent("DurationSeconds"), "900");

    let plain = mint(&client, PLAIN).await;
    assert_eq!((plain.lease.revocable.as_str(), plain.lease.renewable), ("none", false));
    let calls = world.moto.calls_of("AssumeRole");
    assert!(calls.iter().any(|call| call.params.get("ExternalId").is_some_and(|id| id == "tenant-7")));

    let short = MintRequest { ttl: Some("5m".to_owned()), ..MintRequest::default() };
    let refused = client.mint(PLAIN, &short).await.expect_err("AWS has no session of five minutes");
    assert!(refused.to_string().contains("15m"), "{refused}");
}

/// moto looks at no assertion: PyJWT does, by what the broker publishes for clouds and by nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_asserts_is_verified_through_discovery() {
    let world = World::new().await;
    let broker = world.broker().await;
    let held = mint(&world.stage.client(&broker, BILLING), DIRECT).await;
    let calls = world.moto.calls_of("AssumeRoleWithWebIdentity");
    let direct =
        calls.iter().find(|call| call.params.get("RoleSessionName") == Some(&held.lease.id)).expect("the call");
    assert!(direct.key.is_empty(), "no key signs it");
    let own = calls
        .iter()
        .find(|call| call.params["RoleSessionName"] == format!("leasehold-{}", world.stage.cluster))
        .expect("the broker's own");

    let public = broker.addresses().public.expect("a public listener");
    let env = |token: &str| {
        vec![
            ("PUBLIC", format!("https://{public}")),
            ("ISSUER", ISSUER.to_owned()),
            ("BUNDLE", world.stage.dir().join("bundle.pem").display().to_string()),
            ("TOKEN", token.to_owned()),
        ]
    };
    for (call, about) in [(direct, DIRECT), (own, "aws-prod")] {
        let env = env(&call.params["WebIdentityToken"]);
        let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let claims: Value = serde_json::from_str(&done(&world.moto.python(VERIFIES, &env).await)).expect("claims");
        assert_eq!(claims["sub"], format!("leasehold:{}:{about}", world.stage.cluster));
        assert!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap() <= 300, "{claims}");
        if about == DIRECT {
            assert_eq!(claims["https://aws.amazon.com/source_identity"], held.lease.id);
            let tags = &claims["https://aws.amazon.com/tags"];
            assert_eq!(tags["principal_tags"]["leasehold:identity"], json!(["spiffe://dev.local/billing"]));
        }
    }
}

/// As a cloud does it: the issuer's documents, the key of the header's `kid`, and nothing taken on trust. The issuer's name is where the
/// listener is reached from here.
const VERIFIES: &str = r#"
import json, os, ssl, urllib.request
import jwt
trust = ssl.create_default_context(cafile=os.environ["BUNDLE"])
trust.check_hostname = False
def get(url):
    url = url.replace(os.environ["ISSUER"], os.environ["PUBLIC"])
    with urllib.request.urlopen(url, context=trust, timeout=5) as answer:
        return json.load(answer)
issuer = os.environ["ISSUER"] + "/cloud"
about = get(issuer + "/.well-known/openid-configuration")
assert about["issuer"] == issuer, about
keys = jwt.PyJWKSet.from_dict(get(about["jwks_uri"]))
token = os.environ["TOKEN"]
key = keys[jwt.get_unverified_header(token)["kid"]]
assert about["id_token_signing_alg_values_supported"] == ["RS256"], about
need = ["iss", "sub", "aud", "iat", "exp", "jti"]
print(json.dumps(jwt.decode(token, key, algorithms=["RS256"], audience="sts.amazonaws.com", issuer=issuer, options={"require": need})))
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_made_keyed_renewed_and_really_ended() {
    let mut world = World::new().await;
    let broker = world.broker().await;
    let client = world.stage.client(&broker, BILLING);
    let held = mint(&client, LEGACY).await;
    let name = held.lease.account.clone();
    assert!(held.key.session_token.is_none() && held.lease.renewable);
    assert_eq!(world.users().await, std::collections::BTreeSet::from([name.clone()]));
    let ends = async || {
        let ask = json!({ "UserName": name, "PolicyName": "leasehold-end" });
        let said = world.moto.call("iam", "get_user_policy", ask).await.expect("its second line");
        said["PolicyDocument"]["Statement"][0]["Condition"]["DateGreaterThan"]["aws:CurrentTime"].clone()
    };
    let before = ends().await;
    let renewed = client
        .renew(&held.lease.id, &leasehold_client::wire::RenewRequest { ttl: Some("50m".into()) })
        .await
        .expect("renewed");
    assert!(ends().await.as_str() > before.as_str(), "the second line moves with the lease");
    assert_eq!(renewed.worst_case_until, Some(renewed.expires_at.clone()));

    let key = held.as_key();
    world.moto.authorize().await;
    world.moto.call_as(&key, "sts", "get_caller_identity", json!({})).await.expect("the key is good");
    world.moto.believe_everyone().await;
    let ended = client.revoke(&held.lease.id).await.expect("ended");
    assert_eq!((ended.state.as_str(), ended.ended_by.as_deref()), ("revoked", Some("caller")));
    assert!(world.users().await.is_empty());
    world.moto.authorize().await;
    let refused = world.moto.call_as(&key, "sts", "get_caller_identity", json!({})).await.expect_err("it is dead");
    assert_eq!(refused.code, "InvalidClientTokenId");
}
