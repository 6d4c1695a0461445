//! Limits: hitting one is a clear answer that says which, and is counted.

use leasehold_client::wire::{LeaseQuery, MintRequest};
use leasehold_testkit::wait_until;

use crate::rig::{Answer, BILLING, READ, Rig, SOON, STRANGER, for_ttl, mint, request};

const MINT: &str = "/v1/credentials/orders-read";

/// Demands a 429 that names this limit and says when to come again.
#[track_caller]
fn assert_limited(answer: &Answer, limit: &str) {
    let problem = answer.problem(429);
    assert_eq!(problem["limit"], limit, "{problem}");
    let after: u64 = answer.header("retry-after").and_then(|s| s.parse().ok()).expect("when to come again");
    assert!((1..=120).contains(&after), "{after}");
    assert_eq!(problem["retry_after"], after);
    assert!(problem["detail"].as_str().is_some_and(|d| d.contains(limit)), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn live_leases_of_one_identity_and_role() {
    let rig = Rig::with(|config| {
        config.limit("live_leases_per_identity_and_role", 3).grant(
            "both",
            &["spiffe://dev.local/twin"],
            &[READ],
            &["mint"],
        )
    })
    .await;
    let mut line = rig.line(BILLING).await;
    let mut first = String::new();
    for _ in 0..3 {
        let issued = line.ask("POST", MINT, None).await.json();
        first = issued["lease"]["id"].as_str().expect("a lease").to_owned();
    }
    assert_limited(&line.ask("POST", MINT, None).await, "live_leases_per_identity_and_role");
    assert_eq!(rig.hits("live_leases_per_identity_and_role").await, 1.0);
    assert_eq!(rig.accounts().await.len(), 3, "nothing was made beyond it");
    assert_eq!(rig.ask("/twin", "POST", MINT, None).await.status, 201, "another identity has its own count");
    let revoked = line.ask("POST", &format!("/v1/leases/{first}/revoke"), None).await;
    assert!([200, 202].contains(&revoked.status), "{revoked:?}");
    wait_until(SOON, "its place to be free", || async { rig.ask(BILLING, "POST", MINT, None).await.status == 201 })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mints_in_a_minute() {
    let rig = Rig::with(|config| config.limit("mints_per_minute_per_identity_and_role", 4)).await;
    let mut line = rig.line(BILLING).await;
    for _ in 0..4 {
        assert_eq!(line.ask("POST", MINT, None).await.status, 201);
    }
    assert_limited(&line.ask("POST", MINT, None).await, "mints_per_minute_per_identity_and_role");
    assert_eq!(rig.leases().await.len(), 4);
    assert_eq!(rig.hits("mints_per_minute_per_identity_and_role").await, 1.0);

    // This limit is in force as soon as the file says so.
    let text = rig.config.text().replace("identity_and_role = 4", "identity_and_role = 1000");
    std::fs::write(rig.config.dir().join("leasehold.toml"), text).expect("write");
    rig.broker.reload().expect("reload");
    wait_until(SOON, "the new limit", || async { rig.ask(BILLING, "POST", MINT, None).await.status == 201 }).await;
    let shown = rig.broker.metric("leasehold_limit{limit=\"mints_per_minute_per_identity_and_role\"}").await;
    assert_eq!(shown.expect("the limit"), 1000.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_and_questions_do_not_fill_the_audit_log() {
    let rig =
        Rig::with(|c| c.limit("refusals_per_minute_per_identity", 5).limit("questions_per_minute_per_identity", 5))
            .await;
    let mut line = rig.line(STRANGER).await;
    for _ in 0..5 {
        line.ask("POST", MINT, None).await.problem(403);
    }
    // Checkpoints come by themselves.
    let lines = || rig.audit().iter().filter(|line| line["event"] != "checkpoint").count();
    let before = lines();
    for _ in 0..20 {
        assert_limited(&line.ask("POST", MINT, None).await, "refusals_per_minute_per_identity");
    }
    assert_eq!(lines(), before);
    assert_eq!(rig.hits("refusals_per_minute_per_identity").await, 20.0);
    let mut billing = rig.line(BILLING).await;
    let question = r#"{"action":"mint","role":"orders-read"}"#;
    for _ in 0..5 {
        assert_eq!(billing.ask("POST", "/v1/decisions", Some(question)).await.status, 200);
    }
    assert_limited(&billing.ask("POST", "/v1/decisions", Some(question)).await, "questions_per_minute_per_identity");
    assert_eq!(billing.ask("POST", MINT, None).await.status, 201, "who has a grant is served all the same");
    // The order to end one's own lease is never refused for its number.
    assert_eq!(line.ask("GET", "/v1/leases", None).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn mints_that_wait_for_their_target() {
    let rig = Rig::with(|c| c.limit("mints_waiting_per_target_max", 1).limit("mint_milliseconds_max", 3000)).await;
    mint(&rig.client(BILLING), READ, &for_ttl("1m")).await.expect("the connections are there");
    // A lock on the catalogue of roles keeps every CREATE ROLE waiting.
    let mut superuser = rig.ground.pg.superuser().await;
    superuser.execute("BEGIN; LOCK TABLE pg_catalog.pg_authid IN SHARE ROW EXCLUSIVE MODE").await.expect("a lock");
    let mut lines = Vec::new();
    for _ in 0..12 {
        let mut line = rig.line(BILLING).await;
        line.send(request("POST", MINT, None)).await.expect("send");
        lines.push(line);
    }
    wait_until(SOON, "one to be sent away", || async { rig.hits("mints_waiting_per_target_max").await > 0.0 }).await;
    superuser.execute("ROLLBACK").await.expect("the lock is gone");
    let mut busy = 0;
    for line in &mut lines {
        let answer = line.answer().await.expect("an answer").expect("an answer");
        if answer.status == 503 && answer.json()["limit"] == "mints_waiting_per_target_max" {
            assert!(answer.header("retry-after").is_some());
            busy += 1;
        }
    }
    assert!(busy >= 1);
    rig.assert_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_that_are_read_at_start_are_not_changed_behind_anybodys_back() {
    let rig = Rig::new().await;
    let failures = "leasehold_config_reload_failures_total";
    for limit in ["connections_at_once_max", "body_bytes_max", "handshake_milliseconds_max", "page_leases_max"] {
        let before = rig.broker.metric(failures).await.expect("a number");
        rig.config.clone().limit(limit, 999).write();
        rig.broker.reload().expect("reload");
        wait_until(SOON, "the refusal", || async { rig.broker.metric(failures).await.is_ok_and(|n| n > before) }).await;
        // Waited for as well: a refusal is counted before it is logged.
        let refusal = format!("limits.{limit}: a change of this takes effect only at start");
        wait_until(SOON, &refusal, || async { rig.broker.logs().contains(&refusal) }).await;
    }
    let shown = rig.broker.metric("leasehold_limit{limit=\"page_leases_max\"}").await.expect("the limit in force");
    assert_eq!(shown, 1000.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_held_can_be_replaced_at_its_time_whatever_the_cap() {
    let group_config = |config: leasehold_testkit::ConfigFile, group: &str| {
        let lines = format!("target = \"orders\"\nttl = \"6s\"\noverlap = \"2s\"\nmember_of = [\"{group}\"]");
        config.limit("live_leases_per_identity_and_role", 1).role("orders-short", &lines).grant(
            "short",
            &["spiffe://dev.local/billing"],
            &["orders-short"],
            &["mint"],
        )
    };
    let ground = crate::rig::Ground::new().await;
    let config = group_config(ground.config(), &ground.group);
    let rig = ground.start(config).await;
    let client = rig.client(BILLING);
    let (held, _) = mint(&client, "orders-short", &MintRequest::default()).await.expect("a mint");
    let replace = MintRequest { replaces: Some(held.id.clone()), ..MintRequest::default() };
    let early = mint(&client, "orders-short", &replace).await;
    assert!(matches!(&early, Err(e) if e.status() == Some(429)), "before its time it is one too many");
    wait_until(SOON, "its time to rotate", || async { mint(&client, "orders-short", &replace).await.is_ok() }).await;
    let all =
        client.leases(&LeaseQuery { state: Some("active".into()), ..LeaseQuery::default() }).await.expect("a list");
    assert_eq!(all.leases.len(), 2, "both work for the overlap");
    client.close().await;
}
