//! Tokens that a service is supplied with: fetched anew when its certificate changes, with a lease and without.

use std::time::Duration;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use leasehold_client::wire::{Credential, Supplied};
use leasehold_identity::Identity;
use leasehold_testkit::{Broker, PgFixture, Svid, distribution, wait_until};
use secrecy::ExposeSecret;
use serde_json::Value;

use super::process::{AgentProcess, read};
use super::running::lease;
use crate::stage::{BILLING, OPERATOR, Rights, SOON, Stage};

const FILES: &str = r#"
[credentials.payments]
role = "payments-write"
scope = "payments:read"
revoke_on_exit = true
consumers = ["hook"]
[[credentials.payments.files]]
path = "DIR/secrets/token"
format = "token"
[[credentials.payments.on_change]]
run = ["true"]
acks = "hook"

[credentials.quick]
role = "payments-quick"
[[credentials.quick.files]]
path = "DIR/quick/token.json"
format = "json"
"#;

async fn stage() -> Stage {
    let pg = PgFixture::shared(distribution()).await;
    let mut stage = Stage::new(pg, Rights::CreateRole).await.with_target("ttl = \"10m\"");
    let role = "target = \"payments\"\nscopes = [\"payments:read\", \"payments:write\"]";
    stage.config = stage
        .config
        .table("[seal]", "key = { file = \"seal.key\" }")
        .table("[token]", "issuer = \"https://leasehold.test\"")
        .target("payments", "plugin = \"token\"\naudience = \"https://payments.test\"")
        .role("payments-write", &format!("{role}\nttl = \"10m\""))
        .role("payments-quick", &format!("{role}\nttl = \"9s\"\nlease = false"))
        .grant("billing pays", &["spiffe://dev.local/billing"], &["payments-write", "payments-quick"], &["mint"]);
    stage
}

fn said(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("a JWT");
    let payload = BASE64URL_NOPAD.decode(payload.as_bytes()).expect("base64url");
    serde_json::from_slice(&payload).expect("JSON")
}

fn token(supplied: &Supplied) -> &str {
    let Credential::Token(token) = &supplied.credential else { panic!("no token") };
    token.access_token.expose_secret()
}

/// The certificate that a token is bound to.
fn bound_to(token: &str) -> Option<String> {
    let said = said(token);
    let hash = BASE64URL_NOPAD.decode(said["cnf"]["x5t#S256"].as_str()?.as_bytes()).expect("base64url");
    Some(HEXLOWER.encode(&hash))
}

fn shown(svid: &Svid) -> Option<String> {
    Identity::from_files(&svid.cert, &svid.key, &svid.bundle).expect("an SVID").svid_sha256()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bound_token_is_fetched_anew_the_moment_the_certificate_changes() {
    let stage = stage().await;
    let broker = stage.broker().await;
    let svid = stage.ca.svid(BILLING);
    let mut agent = AgentProcess::start(&broker.url(), &svid, FILES).await;
    let first = agent.first("payments").await;
    assert_eq!(bound_to(token(&first)), shown(&svid));
    assert_eq!(said(token(&first))["scope"], "payments:read");

    // It takes the place of the files that the agent follows.
    let svid = stage.ca.svid_for(BILLING, Duration::from_secs(300));
    let second = agent.after("payments", 1).await;
    assert_eq!(bound_to(token(&second)), shown(&svid), "long before its time to rotate");
    let life = |token: &str| said(token)["exp"].as_u64().zip(said(token)["iat"].as_u64()).map(|(exp, iat)| exp - iat);
    assert!(life(token(&first)) == Some(600) && life(token(&second)) <= Some(300), "none outlives its certificate");
    wait_until(SOON, "its file", || async { read(&agent.path("secrets/token")) == token(&second) }).await;
    let over = stage.over(&broker, &lease(&first).id).await;
    assert_eq!(over.ended_by.as_deref(), Some("caller"), "the hook has acknowledged the second");

    // The one without a lease lives for seconds, and there is always one.
    let quick = agent.first("quick").await;
    let next = agent.after("quick", quick.generation).await;
    assert!(next.lease.is_none() && agent.status("quick").await.lease.is_none());
    wait_until(SOON, "its file", || async {
        let file: Value = serde_json::from_str(&read(&agent.path("quick/token.json"))).expect("JSON");
        assert_eq!((&file["kind"], &file["lease_id"]), (&"token".into(), &Value::Null));
        file["access_token"] != token(&quick)
    })
    .await;
    assert!(agent.terminate().await.success());
    assert_eq!(stage.over(&broker, &lease(&second).id).await.ended_by.as_deref(), Some("caller"));
    stage.quiet(&broker).await;
}

/// Runs the program with these arguments. Answers what it printed, and what it complained of.
async fn run(broker: &Broker, svid: &Svid, arguments: &[&str]) -> (String, String) {
    let done = broker.command(svid).args(arguments).output().await.expect("run it");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (text(done.stdout), text(done.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_hand_tokens_on() {
    let stage = stage().await;
    let broker = stage.broker().await;
    let svid = stage.ca.svid(BILLING);
    let run = async |arguments: &[&str]| run(&broker, &svid, arguments).await;

    let (flat, said_of_it) = run(&["get", "payments-write", "--scope", "payments:write", "--format", "json"]).await;
    let flat: Value = serde_json::from_str(&flat).unwrap_or_else(|_| panic!("{said_of_it}"));
    assert_eq!((&flat["kind"], &flat["scope"]), (&"token".into(), &"payments:write".into()));
    let id = flat["lease_id"].as_str().expect("a lease");
    stage.client(&broker, OPERATOR).revoke(id).await.expect("a revocation");

    let (alone, said_of_it) = run(&["get", "payments-quick", "--format", "token"]).await;
    assert_eq!(bound_to(&alone), shown(&svid), "{said_of_it}");
    let (whole, _) = run(&["get", "payments-quick", "--output", "json"]).await;
    let whole: Value = serde_json::from_str(&whole).expect("JSON");
    assert_eq!((&whole["lease"], &whole["credential"]["token_type"]), (&Value::Null, &"Bearer".into()));
    let (table, _) = run(&["get", "payments-quick"]).await;
    assert!(table.contains("scope            payments:read payments:write\n"), "{table}");

    let (printed, why) = run(&["get", "payments-write", "--format", "pgpass"]).await;
    assert!(printed.is_empty() && why.contains("so it was revoked: a token has no form pgpass"), "{why}");

    let print = "printf '%s|%s|%s' \"$PAYMENTS_WRITE_ACCESS_TOKEN_SCOPE\" \"$PAYMENTS_WRITE_LEASEHOLD_LEASE_ID\" \
                 \"$PAYMENTS_QUICK_ACCESS_TOKEN\"";
    let (printed, why) = run(&["run", "payments-write", "payments-quick", "--", "sh", "-c", print]).await;
    let parts: Vec<_> = printed.split('|').collect();
    assert!(parts.len() == 3 && parts[0] == "payments:read payments:write", "{printed} {why}");
    assert_eq!(bound_to(parts[2]), shown(&svid));
    let over = stage.over(&broker, parts[1]).await;
    assert_eq!(over.ended_by.as_deref(), Some("caller"), "when the program ended");
    stage.over(&broker, id).await;
    stage.quiet(&broker).await;
}
