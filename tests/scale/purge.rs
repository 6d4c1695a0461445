//! Ended leases leave the store when their time to be kept is over.

use leasehold_testkit::{PgFixture, wait_until};
use sqlx::{Connection, SqliteConnection};

use crate::stage::{BILLING, OPERATOR, Rights, SOON, Stage, mint};

/// The limit under test, and a little more.
const KEPT_HOURS: u64 = 2;
const LONG_AGO: &str = "UPDATE leases SET ended_at = ended_at - 3 * 3600000 WHERE id = ?1";

async fn store(stage: &Stage) -> SqliteConnection {
    let file = stage.config.dir().join("leasehold.db");
    SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.expect("open the store")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ended_long_ago_leaves_the_store_and_stays_in_the_audit_log() {
    let pg = PgFixture::shared(leasehold_testkit::distribution()).await;
    let stage = Stage::new(pg, Rights::CreateRole).await.with_target("ttl = \"10m\"");
    let stage = stage.limit("ended_leases_kept_hours", KEPT_HOURS).limit("purge_step_leases_max", 2);
    let mut broker = stage.broker().await;
    let client = stage.client(&broker, BILLING);
    let mut ended = Vec::new();
    for _ in 0..6 {
        let held = mint(&client, "10m").await.expect("a mint");
        client.revoke(&held.lease.id).await.expect("a revocation");
        ended.push(stage.over(&broker, &held.lease.id).await);
    }
    let alive = mint(&client, "10m").await.expect("a mint");
    broker.terminate().await.expect("it ends");
    // More than two steps of them ended long ago, the newest among them; one a moment ago.
    let mut db = store(&stage).await;
    for lease in &ended[1..] {
        sqlx::query(LONG_AGO).bind(&lease.id).execute(&mut db).await.expect("make it old");
    }
    db.close().await.expect("close the store");

    broker.restart().await.expect("start it again");
    let operator = stage.client(&broker, OPERATOR);
    let kept = [ended[0].id.clone(), alive.lease.id.clone()];
    wait_until(SOON, "the old ones to be purged", || async {
        let mut left: Vec<_> = stage.leases(&broker).await.into_iter().map(|lease| lease.id).collect();
        left.sort();
        left == kept
    })
    .await;
    let gone = operator.lease(&ended[5].id).await.expect_err("it is gone");
    assert_eq!(gone.status(), Some(404));
    let (_, metrics) = broker.ops("/metrics").await.expect("metrics");
    assert!(metrics.contains("leasehold_purged_leases_total 5"), "{metrics}");
    stage.session(&alive).await;
    // Every line of theirs is there: nothing was purged that was not on record.
    stage.assert_audit_holds(&broker).await;
    let log = std::fs::read_to_string(stage.config.audit_path()).expect("the audit log");
    for lease in &ended {
        let revoked = |line: &&str| line.contains(&lease.id) && line.contains("\"revoked\"");
        assert_eq!(log.lines().filter(revoked).count(), 1, "{}", lease.id);
    }
}
