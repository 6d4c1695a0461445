//! What the ops listener tells, and what the API shows of leases to whom.

use std::time::Duration;

use leasehold_client::wire::LeaseQuery;
use leasehold_testkit::wait_until;
use serde_json::Value;
use tokio::time::Instant;

use crate::rig::{
    AUDITOR, BILLING, Ground, OPERATOR, READ, Rig, SOON, STRANGER, TENANT, TENANTS, for_ttl, mint, request,
};

async fn ready(rig: &Rig) -> (u16, Value) {
    let (status, body) = rig.broker.ops("/readyz").await.expect("an answer");
    (status, serde_json::from_str(&body).expect("JSON"))
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_move_and_name_nobody() {
    let rig = Rig::new().await;
    let value = async |series: &str| rig.broker.metric(series).await.unwrap_or(0.0);
    assert_eq!(rig.broker.ops("/healthz").await.expect("an answer"), (200, "ok\n".to_owned()));
    assert_eq!(rig.broker.ops("/nowhere").await.expect("an answer").0, 404);
    for known in leasehold::limits::ALL {
        let shown = rig
            .broker
            .metric(&format!("leasehold_limit{{limit=\"{}\"}}", known.name))
            .await
            .expect("every limit is shown");
        let set = if known.name == "revoke_retry_milliseconds_min" { 100 } else { known.default };
        assert_eq!(shown, set as f64, "{}", known.name);
    }
    assert!(value("leasehold_config_loaded_timestamp_seconds").await > 1.7e9);
    assert!(value("leasehold_svid_not_after_timestamp_seconds").await > 1.7e9);

    let client = rig.client(BILLING);
    let (lease, _) = mint(&client, READ, &for_ttl("10m")).await.expect("a mint");
    assert!(mint(&client, TENANT, &for_ttl("10m")).await.is_err());
    for (series, expected) in [
        ("leasehold_mints_total{target=\"orders\",result=\"ok\"}", 1.0),
        ("leasehold_mint_seconds_count{target=\"orders\"}", 1.0),
        ("leasehold_decisions_total{action=\"mint\",allowed=\"true\"}", 1.0),
        ("leasehold_decisions_total{action=\"mint\",allowed=\"false\"}", 1.0),
        ("leasehold_handshakes_total{result=\"ok\",reason=\"none\"}", 1.0),
        ("leasehold_connections", 1.0),
        ("leasehold_target_up{target=\"orders\"}", 1.0),
        ("leasehold_audit_writable", 1.0),
        ("leasehold_requests_total{route=\"/v1/credentials/{role}\",status=\"201\"}", 1.0),
        ("leasehold_requests_total{route=\"/v1/credentials/{role}\",status=\"403\"}", 1.0),
    ] {
        assert_eq!(value(series).await, expected, "{series}");
    }
    wait_until(SOON, "the live leases", || async { value("leasehold_leases{target=\"orders\"}").await == 1.0 }).await;
    client.revoke(&lease.id).await.expect("a revocation");
    wait_until(SOON, "the revocation", || async {
        value("leasehold_revocations_total{target=\"orders\",result=\"ok\"}").await == 1.0
    })
    .await;
    wait_until(SOON, "no live lease", || async { value("leasehold_leases{target=\"orders\"}").await == 0.0 }).await;
    rig.ask(STRANGER, "GET", "/v1/leases/%22spiffe", None).await.problem(400);
    client.close().await;

    let (_, text) = rig.broker.ops("/metrics").await.expect("an answer");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.starts_with("leasehold_"), "{line}");
    }
    for told in ["spiffe", "billing", lease.id.as_str(), lease.account.as_str(), READ] {
        assert!(!text.contains(told), "{told} is in the metrics");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_whose_svid_ends_is_not_ready() {
    let ground = Ground::new().await;
    let config = ground.config();
    let id = ground.ca.dev().trust_domain().id("/leasehold").expect("an ID");
    let issue = |ground: &Ground, life| {
        ground
            .ca
            .dev()
            .issue(&id, Duration::from_secs(life))
            .expect("issue")
            .write_to(ground.dir(), "broker")
            .expect("write");
    };
    issue(&ground, 8);
    let rig = ground.start(config).await;
    wait_until(SOON, "not ready", || async { ready(&rig).await.0 == 503 }).await;
    let (_, said) = ready(&rig).await;
    assert_eq!(
        (said["ready"].as_bool(), said["problems"].as_object().map(|p| p.len())),
        (Some(false), Some(1)),
        "{said}"
    );
    assert!(said["problems"]["svid"].is_string(), "{said}");
    assert_eq!(rig.broker.ops("/healthz").await.expect("an answer").0, 200, "it lives all the same");
    issue(&rig.ground, 3600);
    wait_until(SOON, "ready again", || async { ready(&rig).await.0 == 200 }).await;
    rig.assert_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_down_is_shown_and_does_not_count() {
    let ground = Ground::new().await;
    let down = "postgres://nobody@127.0.0.1:1/nothing";
    let config = ground.config().postgres("down", down, "x", "").role("down-read", "target = \"down\"\nttl = \"10m\"");
    let config = config.grant("down", &["spiffe://dev.local/billing"], &["down-read"], &["mint"]);
    let rig = ground.start(config).await;
    let answer = rig.ask(BILLING, "POST", "/v1/credentials/down-read", None).await;
    let problem = answer.problem(503);
    assert!(
        answer.header("retry-after").is_some() && problem["detail"].as_str().is_some_and(|d| d.contains("down")),
        "{problem}"
    );
    let (status, said) = ready(&rig).await;
    assert_eq!(status, 200);
    assert_eq!(said["targets"]["orders"], "ok");
    assert!(said["targets"]["down"].as_str().is_some_and(|why| why != "ok"), "{said}");
    assert_eq!(rig.broker.metric("leasehold_target_up{target=\"down\"}").await.expect("it is shown"), 0.0);
    rig.assert_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_answers_when_the_lease_changes() {
    let rig = Rig::new().await;
    let client = rig.client(BILLING);
    let (lease, _) = mint(&client, READ, &for_ttl("10m")).await.expect("a mint");
    let poll = |query: &'static str| {
        let (rig, id) = (&rig, lease.id.clone());
        async move { rig.ask(BILLING, "GET", &format!("/v1/leases/{id}?{query}"), None).await.json() }
    };
    // Already in another state: at once. Nothing happens: after its time.
    let started = Instant::now();
    assert_eq!(poll("while=revoking&wait=60s").await["lease"]["state"], "active");
    assert!(started.elapsed() < SOON / 4);
    let started = Instant::now();
    assert_eq!(poll("while=active&wait=300ms").await["lease"]["state"], "active");
    assert!(started.elapsed() >= Duration::from_millis(300));
    let started = Instant::now();
    let (waited, revoked) = tokio::join!(poll("while=active&wait=60s"), async {
        // The waiter is there when its request is under way.
        wait_until(SOON, "the waiter", || async {
            rig.broker.metric("leasehold_connections").await.unwrap_or(0.0) >= 2.0
        })
        .await;
        client.revoke(&lease.id).await
    });
    revoked.expect("a revocation");
    assert_ne!(waited["lease"]["state"], "active");
    assert!(started.elapsed() < SOON / 2, "{:?}", started.elapsed());
    client.close().await;
}

/// Every agent has such a request open, always: a broker that waited for them would be away for long at each restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_stops_keeps_nobody_waiting() {
    let mut rig = Rig::new().await;
    let client = rig.client(BILLING);
    let (lease, _) = mint(&client, READ, &for_ttl("10m")).await.expect("a mint");
    client.close().await;
    let mut line = rig.line(BILLING).await;
    line.send(request("GET", &format!("/v1/leases/{}?while=active&wait=60s", lease.id), None)).await.expect("ask");
    let waits = async || rig.broker.metric("leasehold_connections").await.unwrap_or(0.0) >= 1.0;
    wait_until(SOON, "the waiter", waits).await;
    assert!(rig.broker.terminate().await.expect("it ends").success());
    // Whoever is still under way when the time is up is cut off without one.
    let answer = line.answer().await.expect("read an answer").expect("an answer");
    assert_eq!((answer.status, answer.json()["lease"]["state"].as_str()), (200, Some("active")));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages_that_miss_and_repeat_nothing() {
    let rig = Rig::new().await;
    let client = rig.client(BILLING);
    let mut made = Vec::new();
    for _ in 0..7 {
        made.push(mint(&client, READ, &for_ttl("10m")).await.expect("a mint").0.id);
    }
    rig.run(TENANTS, &["get", TENANT, "--param", "tenant=40"]).await;
    made.reverse();
    let mut seen = Vec::new();
    let mut cursor = String::new();
    for page in 0.. {
        let uri = format!("/v1/leases?role={READ}&limit=3{cursor}");
        let answer = rig.ask(AUDITOR, "GET", &uri, None).await.json();
        let ids =
            answer["leases"].as_array().expect("a list").iter().map(|l| l["id"].as_str().expect("an id").to_owned());
        seen.extend(ids);
        if page == 0 {
            // One that comes meanwhile is newer than all of them.
            mint(&client, READ, &for_ttl("10m")).await.expect("a mint");
        }
        match answer["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, made);
    let exact = rig.ask(AUDITOR, "GET", &format!("/v1/leases?role={READ}&limit=8"), None).await.json();
    assert_eq!((exact["leases"].as_array().map(Vec::len), &exact["next_cursor"]), (Some(8), &Value::Null));
    client.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_sees_their_own_and_what_a_grant_shows() {
    let rig = Rig::with(|c| c.grant("tenants look", &["spiffe://dev.local/watcher"], &[TENANT], &["read"])).await;
    let billing = rig.client(BILLING);
    let (lease, _) = mint(&billing, READ, &for_ttl("10m")).await.expect("a mint");
    billing.close().await;
    rig.run(TENANTS, &["get", TENANT, "--param", "tenant=40"]).await;
    for (who, seen) in [(BILLING, 1), (TENANTS, 1), (AUDITOR, 2), (OPERATOR, 2), ("/watcher", 1), (STRANGER, 0)] {
        let client = rig.client(who);
        let leases = client.leases(&LeaseQuery::default()).await.expect("a list").leases;
        assert_eq!(leases.len(), seen, "{who}");
        let one = client.lease(&lease.id).await;
        assert_eq!(one.is_ok(), [BILLING, AUDITOR, OPERATOR].contains(&who), "{who}: {one:?}");
        client.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn how_long_no_broker_may_be_there_is_told() {
    let rig = Rig::new().await;
    let budget = async || rig.broker.metric("leasehold_outage_budget_seconds{target=\"orders\"}").await;
    assert!(budget().await.is_err(), "nobody has a credential that could end");
    let client = rig.client(BILLING);
    let (brief, _) = mint(&client, READ, &for_ttl("5m")).await.expect("a mint");
    mint(&client, READ, &for_ttl("1h")).await.expect("a longer one");
    let within = async |from: f64, to: f64| budget().await.is_ok_and(|left| from < left && left <= to);
    wait_until(SOON, "the first to end to be told", || within(60.0, 300.0)).await;
    client.revoke(&brief.id).await.expect("end it");
    wait_until(SOON, "the next one to be told", || within(3000.0, 3600.0)).await;
}
