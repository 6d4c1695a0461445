//! A broker dies with work that it had claimed; whoever takes that over dies with it, too; a third one ends it.

use std::os::unix::process::ExitStatusExt;

use leasehold_testkit::{Broker, Installation, PgFixture};

use crate::ground;
use crate::stage::{BILLING, Rights, SOON, Stage, end, mint};

leasehold_testkit::each_version! { what_two_dead_brokers_had_in_hand_a_third_one_ends }

async fn what_two_dead_brokers_had_in_hand_a_third_one_ends(postgres: Installation) {
    let pg = PgFixture::shared(postgres).await;
    // A claim outlives the test: only a takeover frees it.
    let stage = Stage::new(pg.same(), Rights::CreateRole).await.with_target("ttl = \"10m\"");
    let stage = stage.with_store_on(&pg).await.limit("revoke_milliseconds_max", 600_000);
    let dirs = [tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory")];
    let [second, third] = [0, 1].map(|n| ground::options(&stage.config.in_another_directory(dirs[n].path())));

    let mut first = stage.broker_that_dies_at("revoke.claimed").await;
    let held = mint(&stage.client(&first, BILLING), "10m").await.expect("a mint");
    let session = stage.session(&held).await;
    let _ = stage.client(&first, BILLING).revoke(&held.lease.id).await;
    assert_eq!(first.wait_for_exit().await.expect("it dies with the claim").signal(), Some(9));

    let mut second =
        Broker::start(second.env("LEASEHOLD_FAIL_POINT", "takeover.taken")).await.expect("start the second");
    assert_eq!(second.wait_for_exit().await.expect("it dies with what it took over").signal(), Some(9));

    let third = ground::start(third).await;
    session.wait_until_dead(SOON).await;
    assert_eq!(end(&stage.over(&third, &held.lease.id).await), ("revoked", Some("caller")));
    stage.quiet(&third).await;
}
