//! What is sent for a session, and what is not.

use leasehold_sdk::{Ending, EngineError, Fingerprint, Revocable, RevokeOrder};
use leasehold_testkit::Moto;
use serde_json::{Value, json};

use crate::bed::{ASSERTION, Bed, CALLER, Target, ago, allow, soon};

const ROLE: &str = "arn:aws:iam::123456789012:role/team/invoices";

#[tokio::test(flavor = "multi_thread")]
async fn a_session_says_whose_it_is_and_lives_as_long_as_its_lease() {
    let bed = Bed::new().await;
    let target = &bed.target;
    let settings = json!({
        "role_arn": ROLE,
        "external_id": "tenant-7",
        "session_policy": target.file("session.json", &allow("s3:GetObject")),
        "policy_arns": ["arn:aws:iam::aws:policy/ReadOnlyAccess"],
        "tags": { "team": "billing" },
    });
    let made = target.mint(&target.role(settings)).await;
    assert!(made.key.id.starts_with("ASIA") && made.key.token.is_some(), "{:?}", made.key);
    let mut sent = bed.last("AssumeRole");
    let seconds: u64 = sent.remove("DurationSeconds").unwrap().parse().unwrap();
    assert!((3590..=3600).contains(&seconds), "{seconds}");
    let policy: Value = serde_json::from_str(&sent.remove("Policy").unwrap()).unwrap();
    assert_eq!(policy, allow("s3:GetObject"));
    let sent: Vec<(&str, &str)> = sent.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let lease = made.lease();
    assert_eq!(
        sent,
        [
            ("ExternalId", "tenant-7"),
            ("PolicyArns.member.1.arn", "arn:aws:iam::aws:policy/ReadOnlyAccess"),
            ("RoleArn", ROLE),
            ("RoleSessionName", lease.as_str()),
            ("SourceIdentity", lease.as_str()),
            ("Tags.member.1.Key", "team"),
            ("Tags.member.1.Value", "billing"),
            ("Tags.member.2.Key", "leasehold:identity"),
            ("Tags.member.2.Value", CALLER),
            ("TransitiveTagKeys.member.1", "leasehold:identity"),
            ("Version", "2011-06-15"),
        ]
    );
    let own = bed.moto.calls_of("AssumeRoleWithWebIdentity");
    assert_eq!(own.len(), 1, "the broker's own session is kept");
    assert_eq!(own[0].params["RoleSessionName"], format!("leasehold-{}", target.mark.cluster));
    assert_eq!(target.host.said.lock().unwrap()[0].about, "cloud");
    let call = &bed.moto.calls_of("AssumeRole")[0];
    assert!(call.with_token && call.region == "eu-central-1", "{call:?}");
    let who = bed.moto.call_as(&made.key, "sts", "GetCallerIdentity", json!({})).await.unwrap();
    assert!(who["Arn"].as_str().unwrap().ends_with(&format!("/{lease}")), "{who}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_source_identity_none_is_sent() {
    let bed = Bed::new().await;
    bed.target.mint(&bed.target.role(json!({ "role_arn": ROLE, "source_identity": false }))).await;
    let sent = bed.last("AssumeRole");
    assert!(!sent.contains_key("SourceIdentity") && !sent.contains_key("Policy") && !sent.contains_key("ExternalId"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_alone_buys_a_workloads_session() {
    let moto = Moto::start().await;
    let target = Target::new(&moto.endpoint(), json!({ "audience": "aws.example" }));
    assert!(target.engine.asserts_to_cloud());
    assert_eq!(target.engine.fingerprint().await.unwrap(), Fingerprint("aws:by-assertion".into()));
    let policy = target.file("session.json", &allow("s3:GetObject"));
    let role = target.role(json!({ "role_arn": ROLE, "tags": { "team": "billing" }, "session_policy": policy }));
    let made = target.mint(&role).await;
    let call = moto.calls().pop().unwrap();
    assert_eq!((call.action.as_str(), call.key.as_str()), ("AssumeRoleWithWebIdentity", ""), "it is not signed");
    let sent = |name: &str| call.params.get(name).map(String::as_str);
    assert_eq!((sent("WebIdentityToken"), sent("RoleArn")), (Some(ASSERTION), Some(ROLE)));
    assert_eq!((sent("RoleSessionName"), sent("Tags.member.1.Key")), (Some(made.lease().as_str()), None));
    assert!(sent("Policy").unwrap().contains("s3:GetObject"));
    let said = target.host.said.lock().unwrap();
    assert_eq!((said.len(), said[0].about.as_str(), said[0].audience.as_str()), (1, "invoices", "aws.example"));
    let claims = json!({
        "https://aws.amazon.com/source_identity": made.lease(),
        "https://aws.amazon.com/tags": {
            "principal_tags": { "team": ["billing"], "leasehold:identity": [CALLER] },
            "transitive_tag_keys": ["leasehold:identity"],
        },
    });
    assert_eq!(Value::Object(said[0].claims.clone()), claims);
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_no_sessions_of_less_than_a_quarter_of_an_hour() {
    let bed = Bed::new().await;
    let target = &bed.target;
    assert_eq!(target.try_role(json!({ "role_arn": ROLE }), 899).unwrap_err().key, "ttl");
    let role = target.try_role(json!({ "role_arn": ROLE }), 900).unwrap();
    let plan = target.plan(&role).await;
    // What the mint itself took is made up for; more would be a session that outlives its lease.
    target.mint_for(&plan, 895).await.unwrap();
    assert_eq!(bed.last("AssumeRole")["DurationSeconds"], "900");
    let error = target.mint_for(&plan, 600).await.unwrap_err();
    assert!(matches!(&error, EngineError::Refused { why } if why.as_str().contains("15m")), "{error}");
    assert_eq!(bed.moto.calls_of("AssumeRole").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_of_another_account_buys_nothing() {
    let bed = Bed::new().await;
    let plan =
        bed.target.plan_in(&bed.target.role(json!({ "role_arn": ROLE })), &Fingerprint("aws:999999999999".into()));
    let error = bed.target.mint_plan(&plan).await.unwrap_err();
    let EngineError::Refused { why } = &error else { panic!("{error}") };
    assert!(why.as_str().contains("999999999999") && why.as_str().contains("123456789012"), "{why}");
    assert!(bed.moto.calls_of("AssumeRole").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_nobody_can_end_is_told_so_and_ends_by_the_clock_although_aws_is_away() {
    let bed = Bed::new().await;
    let role = bed.target.role(json!({ "role_arn": ROLE }));
    let made = bed.target.mint(&role).await;
    assert_eq!((made.plan.revocable, made.plan.renewable, &made.plan.room), (Revocable::None, false, &None));
    let Bed { moto, target } = bed;
    let asked = moto.calls().len();
    let told = target.revoke(made.order()).await.unwrap();
    let Ending::Told { notice, placed: false, look_again } = told else { panic!("{told:?}") };
    assert!(notice.as_str().contains("AWS cannot revoke"), "{notice}");
    assert!(look_again > soon(3500) && look_again < soon(3700), "{look_again}");
    assert_eq!(moto.calls().len(), asked);
    drop(moto);
    let mut over = made.order();
    over.receipt = Some(leasehold_sdk::Receipt(json!({ "ends_ms": ago(1).unix_ms() })));
    assert_eq!(target.revoke(over).await.unwrap(), Ending::Expired);
    // Its answer was lost: what was asked for, and what a call may take.
    let lost = RevokeOrder { receipt: None, expires_at: ago(60), mint_deadline: ago(900), ..made.order() };
    assert_eq!(target.revoke(lost.clone()).await.unwrap(), Ending::Expired);
    let not_yet = RevokeOrder { expires_at: ago(1), ..lost };
    assert!(matches!(target.revoke(not_yet).await.unwrap(), Ending::Told { placed: false, .. }));
}

/// The default chain reads the environment, and this process has one for all tests: another one of it has its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_the_brokers_own_lends_what_it_has() {
    let mut moto = Moto::start().await;
    let own = moto.create_user("leasehold", &allow("*")).await;
    moto.authorize().await;
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "sessions::as_a_user_of_the_brokers_own", "--nocapture"]);
    child.envs(own.env()).env("LEASEHOLD_TEST_MOTO", moto.endpoint()).env("AWS_EC2_METADATA_DISABLED", "true");
    let output = child.kill_on_drop(true).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));

    let federated = moto.calls_of("GetFederationToken").pop().unwrap();
    let sent = |name: &str| federated.params[name].as_str();
    assert_eq!((sent("Name").len(), sent("DurationSeconds").len(), &federated.key), (26, 4, &own.id));
    assert!(sent("Policy").contains("s3:GetObject"));
    assert_eq!((sent("Tags.member.1.Key"), sent("Tags.member.1.Value")), ("leasehold:identity", CALLER));
    assert_eq!(moto.calls_of("GetSessionToken").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn as_a_user_of_the_brokers_own() {
    // Run by the test above, in an environment of its own.
    let Ok(endpoint) = std::env::var("LEASEHOLD_TEST_MOTO") else { return };
    let target = Target::new(&endpoint, json!({ "auth": "environment" }));
    let policy = target.file("session.json", &allow("s3:GetObject"));
    for role in [
        json!({ "method": "federation_token", "session_policy": policy }),
        json!({ "method": "session_token", "allow_dangerous": ["own_rights"] }),
    ] {
        let role = target.role(role);
        let dangerous = target.engine.vet(&role).await.unwrap();
        assert_eq!(dangerous, if role.0["method"] == "session_token" { vec!["own_rights"] } else { vec![] });
        let made = target.mint(&role).await;
        assert!(made.key.token.is_some());
        assert_eq!(made.plan.revocable, Revocable::None);
        assert!(matches!(target.revoke(made.order()).await.unwrap(), Ending::Told { placed: false, .. }));
    }
}
