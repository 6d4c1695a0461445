//! What an operator is told.

use leasehold_sdk::{EngineError, Finding, Level, RoleSettings};
use serde_json::{Value, json};

use crate::bed::{Bed, OWN_ROLE, Target, allow};
use crate::liar::{Liar, Lie, session};

const ROLE: &str = "arn:aws:iam::123456789012:role/invoices";

async fn findings(target: &Target, role: &RoleSettings) -> Vec<Finding> {
    target.engine.check(&[("invoices".to_owned(), role.clone())]).await
}

fn one<'a>(findings: &'a [Finding], word: &str) -> &'a Finding {
    let found = findings.iter().find(|finding| finding.what.as_str().contains(word));
    found.unwrap_or_else(|| panic!("no {word:?} in {findings:#?}"))
}

/// The policy that a finding prints, after its first line if that is none of it.
fn printed(finding: &Finding) -> Value {
    let fix = finding.fix.as_deref().expect("something to do");
    serde_json::from_str(&fix[fix.find('{').expect("a policy")..]).expect("a policy")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_aws_does_not_take_is_an_error() {
    for (issuer, word) in [
        (json!("https://leasehold.example.org:8443/cloud"), "port"),
        (json!("http://leasehold.example.org"), "https"),
        (json!(format!("https://{}", "a".repeat(260))), "255"),
        (json!(false), "issuer in [token]"),
    ] {
        let target = Target::new("http://127.0.0.1:9", json!({ "issuer": issuer }));
        let findings = target.engine.check(&[]).await;
        assert_eq!((findings.len(), findings[0].level), (1, Level::Error), "{findings:?}");
        assert!(findings[0].what.as_str().contains(word), "{findings:?}");
    }
    let target = Target::new("http://127.0.0.1:9", json!({}));
    let findings = target.engine.check(&[]).await;
    assert_eq!(findings[0].level, Level::Good);
    assert!(findings[0].fix.as_deref().unwrap().contains("create-open-id-connect-provider --url https://leasehold"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_is_tried_and_its_trust_policy_printed() {
    let bed = Bed::new().await;
    let settings = json!({ "role_arn": ROLE, "external_id": "tenant-7", "revocation": "deny" });
    let findings = findings(&bed.target, &bed.target.role(settings)).await;
    assert_eq!(one(&findings, "logs in as").level, Level::Good);
    let gives = one(&findings, "gives sessions of");
    assert_eq!((gives.level, gives.role.as_deref()), (Level::Good, Some("invoices")));
    let trust = printed(gives);
    assert_eq!(trust["Statement"][0]["Principal"]["AWS"], OWN_ROLE);
    assert_eq!(trust["Statement"][0]["Condition"]["StringEquals"]["sts:ExternalId"], "tenant-7");
    let sent = bed.last("AssumeRole");
    assert_eq!((sent["RoleSessionName"].as_str(), sent["DurationSeconds"].as_str()), ("leasehold-check", "3600"));
    assert_eq!(one(&findings, "any right").level, Level::Warning, "revocation by deny is told of");
    // Moto simulates nothing: what is needed is printed instead.
    let rights = one(&findings, "cannot be asked");
    assert_eq!(rights.level, Level::Warning);
    let actions = json!(["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]);
    assert_eq!(printed(rights)["Statement"][0], json!({ "Effect": "Allow", "Action": actions, "Resource": ROLE }));
    assert_eq!(printed(rights)["Statement"][1]["Action"][1], "iam:PutRolePolicy");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_s_trust_policy_names_its_role_alone() {
    let liar = Liar::start(&[("AssumeRoleWithWebIdentity", Lie::Error(403, "AccessDenied"))]).await;
    let target = Target::new(&liar.endpoint(), json!({}));
    let findings = findings(&target, &target.role(json!({ "role_arn": ROLE }))).await;
    let refused = one(&findings, "AccessDenied");
    assert_eq!(refused.level, Level::Error);
    let trust = printed(refused);
    let claims = &trust["Statement"][0]["Condition"]["StringEquals"];
    assert_eq!(claims["leasehold.example.org/cloud:sub"], format!("leasehold:{}:invoices", target.mark.cluster));
    assert_eq!(target.host.said.lock().unwrap()[0].about, "invoices");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_fails_is_told_with_its_own_trust_policy() {
    let liar = Liar::start(&[("AssumeRoleWithWebIdentity", Lie::Error(403, "AccessDenied"))]).await;
    let target = Target::new(&liar.endpoint(), json!({ "role_arn": OWN_ROLE }));
    let findings = findings(&target, &target.role(json!({ "role_arn": ROLE }))).await;
    let refused = one(&findings, "AccessDenied");
    assert_eq!((refused.level, refused.role.as_deref()), (Level::Error, None));
    let trust = printed(refused);
    let claims = &trust["Statement"][0]["Condition"]["StringEquals"];
    assert_eq!(claims["leasehold.example.org/cloud:sub"], format!("leasehold:{}:cloud", target.mark.cluster));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nearly_full_policy_is_warned_of() {
    let liar = Liar::start(&[("AssumeRole", Lie::Body(200, session("AssumeRole", 85)))]).await;
    let target = Target::new(&liar.endpoint(), json!({ "role_arn": OWN_ROLE }));
    let role = target.role(json!({ "role_arn": ROLE }));
    let findings = findings(&target, &role).await;
    assert_eq!(one(&findings, "85 %").level, Level::Warning);
    assert_eq!(target.engine.vet(&role).await, Ok(Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_vetted_by_a_session_that_nobody_gets_once() {
    let bed = Bed::new().await;
    let policy = bed.target.file("session.json", &allow("s3:GetObject"));
    let role = bed.target.role(json!({ "role_arn": ROLE, "session_policy": policy }));
    for _ in 0..3 {
        assert_eq!(bed.target.engine.vet(&role).await, Ok(Vec::new()));
    }
    assert_eq!(bed.moto.calls_of("AssumeRole").len(), 1);

    let liar = Liar::start(&[("AssumeRole", Lie::Error(403, "AccessDenied"))]).await;
    let target = Target::new(&liar.endpoint(), json!({ "role_arn": OWN_ROLE }));
    let refused = target.engine.vet(&target.role(json!({ "role_arn": ROLE }))).await;
    assert!(matches!(refused, Err(EngineError::Refused { .. })), "{refused:?}");
    // An account that does not answer is no reason to hand nothing out for good.
    let liar = Liar::start(&[("AssumeRole", Lie::Error(503, "ServiceUnavailable"))]).await;
    let target = Target::new(&liar.endpoint(), json!({ "role_arn": OWN_ROLE }));
    assert_eq!(target.engine.vet(&target.role(json!({ "role_arn": ROLE }))).await, Ok(Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_bought_with_a_session_lives_an_hour_at_most() {
    let target = Target::new("http://127.0.0.1:9", json!({ "role_arn": OWN_ROLE }));
    let error = target.try_role(json!({ "role_arn": ROLE }), 3601).unwrap_err();
    assert!(error.key == "ttl" && error.why.contains("role chaining"), "{error:?}");
    let direct = Target::new("http://127.0.0.1:9", json!({}));
    direct.try_role(json!({ "role_arn": ROLE }), 12 * 3600).unwrap();
    assert_eq!(direct.try_role(json!({ "role_arn": ROLE }), 12 * 3600 + 1).unwrap_err().key, "ttl");

    // A login of the surroundings is known only when it is asked.
    let liar = Liar::start(&[]).await;
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "check::as_a_session_of_the_surroundings", "--nocapture"]);
    child
        .env("LEASEHOLD_TEST_LIAR", liar.endpoint())
        .env("AWS_ACCESS_KEY_ID", "ASIAX")
        .env("AWS_SECRET_ACCESS_KEY", "x");
    let output = child.env("AWS_SESSION_TOKEN", "x").kill_on_drop(true).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(liar.asked(), ["GetCallerIdentity"], "it ran, and no session was asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn as_a_session_of_the_surroundings() {
    // Run by the test above, in an environment of its own.
    let Ok(endpoint) = std::env::var("LEASEHOLD_TEST_LIAR") else { return };
    let target = Target::new(&endpoint, json!({ "auth": "environment" }));
    let role = target.try_role(json!({ "role_arn": ROLE }), 7200).unwrap();
    let refused = target.engine.vet(&role).await;
    let Err(EngineError::Refused { why }) = refused else { panic!("{refused:?}") };
    assert!(why.as_str().contains("role leasehold") && why.as_str().contains("1h"), "{why}");
}
