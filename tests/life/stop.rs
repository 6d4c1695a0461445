//! SIGTERM: what was begun is finished, what cannot be finished is not handed out, and a restart goes on where it was.

use std::sync::Arc;
use std::time::Duration;

use leasehold_client::Client;
use leasehold_sdk::{Timestamp, clock};
use leasehold_testkit::{PgFixture, PgOptions, wait_until};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::stage::{BILLING, Held, Rights, SOON, Stage, end, find, mint};

/// DESIGN 5.
const STOP_MAX: Duration = Duration::from_secs(20);
const CALLERS: usize = 8;

async fn stage() -> Stage {
    let pg = PgFixture::shared(leasehold_testkit::distribution()).await;
    Stage::new(pg, Rights::CreateRole).await.with_target("ttl = \"10m\"")
}

async fn keep_minting(client: Client, given: Arc<Mutex<Vec<Held>>>) {
    while let Ok(held) = mint(&client, "10m").await {
        given.lock().await.push(held);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_finishes_what_was_begun() {
    let stage = stage().await;
    let mut broker = stage.broker().await;
    let given: Arc<Mutex<Vec<Held>>> = Arc::default();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        callers.spawn(keep_minting(stage.client(&broker, BILLING), given.clone()));
    }
    wait_until(SOON, "load", || async { given.lock().await.len() > 4 * CALLERS }).await;
    let told = tokio::time::Instant::now();
    let status = broker.terminate().await.expect("it ends");
    assert!(status.success(), "{status}: {}", broker.logs());
    assert!(told.elapsed() < STOP_MAX, "it took {:?}", told.elapsed());
    callers.join_all().await;

    let given = Arc::into_inner(given).expect("all callers are done").into_inner();
    // Whoever was given a credential can use it although the broker is down.
    for held in &given {
        stage.session(held).await;
    }
    broker.restart().await.expect("start it again");
    let leases = stage.quiet(&broker).await;
    given.iter().for_each(|held| assert_eq!(find(&leases, &held.lease.id).state, "active"));
    let live = leases.iter().filter(|lease| !lease.is_over()).count();
    assert_eq!(live, given.len(), "what is active is in somebody's hands");
    stage.assert_audit_holds(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_falls_due_while_the_broker_is_down_ends_when_it_is_back() {
    let stage = stage().await;
    let mut broker = stage.broker().await;
    let client = stage.client(&broker, BILLING);
    let (short, long) = (mint(&client, "2s").await.expect("a mint"), mint(&client, "10m").await.expect("a mint"));
    let (mut dying, mut living) = (stage.session(&short).await, stage.session(&long).await);
    assert!(broker.terminate().await.expect("it ends").success());
    let expired: Timestamp = short.lease.expires_at.parse().expect("a time");
    wait_until(SOON, "its time to be up", || async { clock::wall() > expired }).await;
    assert!(dying.is_alive().await, "nobody is there to end the session");
    // The target's own expiry is the second line.
    stage.assert_refused(&short).await;
    broker.restart().await.expect("start it again");
    dying.wait_until_dead(Duration::from_secs(10)).await;
    assert_eq!(end(&stage.over(&broker, &short.lease.id).await), ("revoked", Some("expiry")));
    assert!(living.is_alive().await);
    stage.quiet(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_hangs_does_not_hold_up_the_stop() {
    let pg = PgFixture::own(PgOptions::on(leasehold_testkit::distribution()).without_fsync()).await;
    let stage = Stage::new(pg, Rights::CreateRole).await.with_target("ttl = \"10m\"");
    let mut broker = stage.broker().await;
    let client = stage.client(&broker, BILLING);
    let (kept, ending) = (mint(&client, "10m").await.expect("a mint"), mint(&client, "10m").await.expect("a mint"));
    // Every process of the server is halted: connections stay open, and nothing answers.
    stage.pg.server().pause().expect("halt the database");
    let minting = tokio::spawn({
        let client = client.clone();
        async move { mint(&client, "10m").await.map(|held| held.lease) }
    });
    let ended = client.revoke(&ending.lease.id).await.expect("the order is taken");
    assert_eq!(end(&ended), ("revoking", Some("caller")));
    let told = tokio::time::Instant::now();
    let status = broker.terminate().await.expect("it ends");
    assert!(status.success() && told.elapsed() < STOP_MAX, "{status} after {:?}: {}", told.elapsed(), broker.logs());
    minting.await.expect("the caller is told").expect_err("nothing is handed out that is not finished");

    stage.pg.server().resume().expect("let the database go on");
    broker.restart().await.expect("start it again");
    assert_eq!(end(&stage.over(&broker, &ending.lease.id).await), ("revoked", Some("caller")));
    let leases = stage.quiet(&broker).await;
    let live: Vec<&str> = leases.iter().filter(|lease| !lease.is_over()).map(|lease| lease.id.as_str()).collect();
    assert_eq!(live, [kept.lease.id.as_str()]);
    stage.assert_audit_holds(&broker).await;
}
