//! SIGKILL in the middle of an order to end many leases: what was promised is kept by the next start.

use std::os::unix::process::ExitStatusExt;

use leasehold_client::wire::{RevokeManyRequest, Selector};
use leasehold_testkit::{Installation, PgFixture, wait_until};

use crate::stage::{BILLING, OPERATOR, ROLE, Rights, SOON, Stage, end, find, mint};

/// Leases of the order, and how many of them one step ends.
const MANY: usize = 12;
const STEP: u64 = 5;

leasehold_testkit::each_version! {
    an_order_that_was_cut_off_half_way_ends_all_of_its_leases,
    an_order_that_was_placed_and_never_answered_is_carried_out,
}

async fn an_order_that_was_cut_off_half_way_ends_all_of_its_leases(postgres: Installation) {
    let stage = Stage::new(PgFixture::shared(postgres).await, Rights::CreateRole).await;
    let stage = stage.with_target("ttl = \"10m\"").limit("order_step_leases_max", STEP);
    let mut broker = stage.broker_that_dies_at("order.step").await;
    let client = stage.client(&broker, BILLING);
    let mut held = Vec::new();
    for _ in 0..MANY {
        held.push(mint(&client, "10m").await.expect("a mint"));
    }
    let session = stage.session(&held[MANY - 1]).await;
    let order = RevokeManyRequest::of(Selector::Role(ROLE.into()));
    let taken = stage.client(&broker, OPERATOR).revoke_many(&order).await.expect("the order is taken");
    assert_eq!(taken.matched, MANY as u64);
    assert_eq!(broker.wait_for_exit().await.expect("it dies").signal(), Some(9));
    drop(broker);

    // Made after the order was given, and so not meant by it.
    let broker = stage.broker().await;
    let later = mint(&stage.client(&broker, BILLING), "10m").await.expect("a mint");
    let id = taken.order.expect("an order has an id");
    let operator = stage.client(&broker, OPERATOR);
    wait_until(SOON, "the order to be over", || async { operator.order(&id).await.is_ok_and(|o| o.is_over()) }).await;
    let over = operator.order(&id).await.expect("the order");
    assert_eq!((over.matched, over.ordered, over.left), (MANY as u64, MANY as u64, 0));
    let leases = stage.leases(&broker).await;
    for held in &held {
        assert_eq!(end(find(&leases, &held.lease.id)), ("revoked", Some("operator")));
        stage.assert_refused(held).await;
    }
    session.wait_until_dead(SOON).await;
    assert_eq!(end(find(&leases, &later.lease.id)), ("active", None));
    assert_eq!(stage.accounts().await, [later.lease.account].into());
    stage.assert_audit_holds(&broker).await;
}

async fn an_order_that_was_placed_and_never_answered_is_carried_out(postgres: Installation) {
    let stage = Stage::new(PgFixture::shared(postgres).await, Rights::CreateRole).await;
    let stage = stage.with_target("ttl = \"10m\"");
    let mut broker = stage.broker_that_dies_at("order.placed").await;
    let held = mint(&stage.client(&broker, BILLING), "10m").await.expect("a mint");
    let session = stage.session(&held).await;
    let order = RevokeManyRequest::of(Selector::Role(ROLE.into()));
    stage.client(&broker, OPERATOR).revoke_many(&order).await.expect_err("no answer");
    assert_eq!(broker.wait_for_exit().await.expect("it dies").signal(), Some(9));
    drop(broker);

    let broker = stage.broker().await;
    assert_eq!(end(&stage.over(&broker, &held.lease.id).await), ("revoked", Some("operator")));
    session.wait_until_dead(SOON).await;
    stage.quiet(&broker).await;
    let log = std::fs::read_to_string(stage.config.audit_path()).expect("read the audit log");
    assert!(log.contains("\"operation\":\"revoke_many\""), "who gave it is on record");
    stage.assert_audit_holds(&broker).await;
}
