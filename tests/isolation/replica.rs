//! A read replica that is down: the lease of an account that may be logged in there stays `revoking`, by the replica's name.

use leasehold_testkit::{PgFixture, PgOptions, wait_until};

use crate::stage::{BILLING, OPERATOR, Rights, SOON, Stage, end, mint};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_does_not_end_before_its_replica_was_asked() {
    let options = PgOptions::on(leasehold_testkit::distribution()).without_fsync().conf("wal_keep_size = '128MB'");
    let pg = PgFixture::own(options).await;
    let standby = pg.server().standby().await.expect("a standby");
    let stage = Stage::new(pg, Rights::CreateRole).await;
    let url = stage.admin.url.clone();
    let replica = url.replace(&format!(":{}/", stage.pg.server().port()), &format!(":{}/", standby.port()));
    let stage = stage.with_target_at(&url, &format!("replicas = [\"{replica}\"]"), "ttl = \"10m\"");
    let broker = stage.broker().await;
    let client = stage.client(&broker, BILLING);

    let held = mint(&client, "10m").await.expect("a mint");
    standby.stop().await.expect("stop the standby");
    client.revoke(&held.lease.id).await.expect("an answer");
    let operator = stage.client(&broker, OPERATOR);
    let named = format!("replica 127.0.0.1:{} is out of reach", standby.port());
    wait_until(SOON, "the replica's name on the lease", || async {
        let lease = operator.lease(&held.lease.id).await.expect("the lease");
        lease.state == "revoking" && lease.last_error.is_some_and(|why| why.contains(&named))
    })
    .await;
    stage.assert_refused(&held).await;
    // The primary is there: its circuit stays closed, and it mints.
    let other = mint(&client, "10m").await.expect("a mint without the replica");
    assert_eq!(broker.metric("leasehold_target_circuit_open{target=\"orders\"}").await.expect("the metric"), 0.0);

    standby.restart().await.expect("start the standby");
    assert_eq!(end(&stage.over(&broker, &held.lease.id).await), ("revoked", Some("caller")));
    client.revoke(&other.lease.id).await.expect("an answer");
    stage.over(&broker, &other.lease.id).await;
}
