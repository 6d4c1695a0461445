//! A row that somebody edited must not make the broker drop somebody else (law 10).

use std::time::Duration;

use leasehold_testkit::{Broker, PgFixture};
use sqlx::Connection;

use super::{exists, store};
use crate::stage::{BILLING, Held, Rights, SOON, Stage, mint};

async fn stage() -> (Stage, Broker, Held) {
    let pg = PgFixture::shared(leasehold_testkit::distribution()).await;
    // A superuser could drop anything: what is spared here is spared by the broker alone.
    let stage = Stage::new(pg, Rights::Superuser).await.with_target("ttl = \"10m\"");
    let broker = stage.broker().await;
    let held = mint(&stage.client(&broker, BILLING), "10m").await.expect("a mint");
    (stage, broker, held)
}

/// Puts another account into the row of a lease, wherever its own stands, and makes it due.
async fn edit(stage: &Stage, lease: &str, from: &str, to: &str) {
    let mut db = store(stage).await;
    let sql = "UPDATE leases SET account = replace(account, ?2, ?3), plan = replace(plan, ?2, ?3), \
               expires_at = issued_at, due_at = issued_at, wake_at = issued_at WHERE id = ?1";
    let done = sqlx::query(sql).bind(lease).bind(from).bind(to).execute(&mut db).await.expect("edit the row");
    assert_eq!(done.rows_affected(), 1);
    db.close().await.expect("close the store");
}

/// The lease is tried, in vain and on record, and the other account lives.
async fn is_spared(stage: &Stage, lease: &str, other: &str) {
    let mut db = store(stage).await;
    let tried = "SELECT attempts FROM leases WHERE id = ?1 AND ended_at IS NULL AND last_error IS NOT NULL";
    // By the API it may not even be readable, so that its row is asked.
    let trying = async {
        loop {
            let attempts: Option<i64> =
                sqlx::query_scalar(tried).bind(lease).fetch_optional(&mut db).await.expect("look at the row");
            if attempts.is_some_and(|n| n >= 1) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(SOON, trying).await.expect("a try in vain");
    assert!(exists(stage, other).await, "somebody else was dropped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_account_of_another_lease_is_spared() {
    let (stage, mut broker, edited) = stage().await;
    let other = mint(&stage.client(&broker, BILLING), "10m").await.expect("a mint");
    let mut session = stage.session(&other).await;
    broker.terminate().await.expect("it ends");
    edit(&stage, &edited.lease.id, &edited.lease.account, &other.lease.account).await;
    broker.restart().await.expect("start it again");
    is_spared(&stage, &edited.lease.id, &other.lease.account).await;
    let lease = stage.lease(&broker, &edited.lease.id).await;
    assert!(
        lease.state == "revoking" && lease.last_error.is_some_and(|why| why.contains("another hand")),
        "it says why"
    );
    assert!(session.is_alive().await);
    // Put right again, it ends.
    broker.terminate().await.expect("it ends");
    edit(&stage, &edited.lease.id, &other.lease.account, &edited.lease.account).await;
    broker.restart().await.expect("start it again");
    stage.over(&broker, &edited.lease.id).await;
    stage.quiet(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_was_never_ours_is_spared() {
    let (stage, mut broker, edited) = stage().await;
    let precious = stage.pg.login("precious", "").await;
    let mut session = stage.pg.session(&precious.name, &precious.password).await;
    broker.terminate().await.expect("it ends");
    edit(&stage, &edited.lease.id, &edited.lease.account, &precious.name).await;
    broker.restart().await.expect("start it again");
    let other = mint(&stage.client(&broker, BILLING), "2s").await.expect("other leases are served");
    is_spared(&stage, &edited.lease.id, &precious.name).await;
    stage.over(&broker, &other.lease.id).await;
    assert!(session.is_alive().await && exists(&stage, &precious.name).await);
}
