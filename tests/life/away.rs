//! A target that is down: nothing is minted in it, what falls due waits for it and says so, and another target's
//! revocations stay on time (laws 3 and 7).

use std::time::Duration;

use leasehold_client::wire::{Lease, MintRequest};
use leasehold_sdk::{Timestamp, clock};
use leasehold_testkit::{Broker, PgFixture, PgOptions, wait_until};

use crate::stage::{BILLING, Held, OPERATOR, Rights, SOON, Stage, end, mint, mint_of, refusal};

/// How late a revocation in the healthy target may be.
const LATE_MAX: Duration = Duration::from_secs(10);

async fn own_server() -> PgFixture {
    PgFixture::own(PgOptions::on(leasehold_testkit::distribution()).without_fsync()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mint_in_a_target_that_is_down_is_refused_and_leaves_nothing() {
    let stage = Stage::new(own_server().await, Rights::CreateRole).await.with_target("ttl = \"10m\"");
    stage.pg.server().stop().await.expect("stop the database");
    // It starts while its target is down, and is ready.
    let broker = stage.broker().await;
    let client = stage.client(&broker, BILLING);
    for _ in 0..3 {
        let problem = refusal(mint(&client, "10m").await);
        assert_eq!(problem.status, 503, "{problem:?}");
        assert!(problem.retry_after.is_some_and(|seconds| seconds > 0), "{problem:?}");
        assert!(problem.detail.contains("\"orders\""), "it names the target: {problem:?}");
    }
    let (status, ready) = broker.ops("/readyz").await.expect("readyz answers");
    assert!(status == 200 && ready.contains("orders"), "targets are shown and never count: {status} {ready}");
    stage.pg.server().restart().await.expect("start the database");
    stage.quiet(&broker).await;
    assert!(stage.leases(&broker).await.iter().all(|lease| lease.is_over()));
    wait_until(SOON, "it to mint again", || async { mint(&client, "10m").await.is_ok() }).await;
    stage.quiet(&broker).await;
}

/// Waits until ending this lease was tried that often.
async fn tried(stage: &Stage, broker: &Broker, due: &Held, at_least: u32) -> Lease {
    let operator = stage.client(broker, OPERATOR);
    wait_until(SOON, &format!("{at_least} tries of ending it"), || async {
        let lease = operator.lease(&due.lease.id).await.expect("the lease");
        lease.attempts.is_some_and(|attempts| attempts >= at_least)
    })
    .await;
    stage.lease(broker, &due.lease.id).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_that_fall_due_wait_for_their_target_and_delay_nobody() {
    let stage = Stage::new(own_server().await, Rights::CreateRole).await.with_target("ttl = \"10m\"");
    let healthy = PgFixture::shared(leasehold_testkit::distribution()).await;
    let stage = stage.with_second_target("billing", &healthy, "billing-write", "ttl = \"10m\"").await;
    let mut broker = stage.broker().await;
    let client = stage.client(&broker, BILLING);
    let due = mint(&client, "2s").await.expect("a mint");
    stage.pg.server().stop().await.expect("stop the database");

    let lease = tried(&stage, &broker, &due, 2).await;
    assert_eq!(end(&lease), ("revoking", Some("expiry")));
    assert!(lease.last_error.as_deref().is_some_and(|why| !why.is_empty()), "{lease:?}");
    let svid = stage.svid(OPERATOR);
    let shown = broker.command(&svid).args(["lease", "show", &due.lease.id]).output().await.expect("run it");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains(lease.last_error.as_deref().unwrap_or("?").split_at(12).0), "{shown}");

    // Its holder asking for what is being done already is no new decision: the log does not grow by it.
    let asked = client.revoke(&due.lease.id).await.expect("an answer");
    assert_eq!(end(&asked), ("revoking", Some("expiry")));
    let log = std::fs::read_to_string(stage.config.audit_path()).expect("the audit log");
    let decided = |line: &str| line.contains("\"action\":\"revoke\"") && line.contains(&due.lease.id);
    assert!(!log.lines().any(decided), "{log}");

    // The other target is served on time meanwhile.
    let ask = MintRequest { ttl: Some("2s".to_owned()), ..MintRequest::default() };
    let other = mint_of(&client, "billing-write", &ask).await.expect("a mint in the healthy target");
    stage.over(&broker, &other.lease.id).await;
    let expired: Timestamp = other.lease.expires_at.parse().expect("a time");
    assert!(clock::wall().since(expired) < LATE_MAX, "the dead target delayed the healthy one");

    // What was tried is remembered over a crash.
    let before = stage.lease(&broker, &due.lease.id).await.attempts.expect("attempts");
    broker.kill().await.expect("kill the broker");
    broker.restart().await.expect("start it again");
    assert!(stage.lease(&broker, &due.lease.id).await.attempts.is_some_and(|attempts| attempts >= before));
    tried(&stage, &broker, &due, before + 1).await;

    stage.pg.server().restart().await.expect("start the database");
    assert_eq!(end(&stage.over(&broker, &due.lease.id).await), ("revoked", Some("expiry")));
    assert!(stage.accounts().await.is_empty());
    stage.assert_audit_holds(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tries_grow_apart() {
    let stage = Stage::new(own_server().await, Rights::Superuser).await.with_target("ttl = \"10m\"");
    let broker = stage.broker().await;
    let due = mint(&stage.client(&broker, BILLING), "1s").await.expect("a mint");
    stage.pg.server().stop().await.expect("stop the database");
    let operator = stage.client(&broker, OPERATOR);
    let mut seen = Vec::new();
    let watching = async {
        while seen.len() < 5 {
            let attempts = operator.lease(&due.lease.id).await.expect("the lease").attempts.unwrap_or_default();
            if attempts as usize > seen.len() {
                seen.push(tokio::time::Instant::now());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, watching).await.expect("five tries");
    // 0.1 s at first, doubled each time: after the fourth try at least 0.8 s.
    let gap = |n: usize| seen[n] - seen[n - 1];
    assert!(gap(4) >= Duration::from_millis(700) && gap(4) > gap(1), "{:?} then {:?}", gap(1), gap(4));
    stage.pg.server().restart().await.expect("start the database");
    stage.over(&broker, &due.lease.id).await;
}
