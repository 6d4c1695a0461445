//! Accounts of ours without a live lease, and leases whose account is gone.

use std::time::Duration;

use leasehold_sdk::{LeaseId, clock};
use leasehold_testkit::{Broker, Installation, PgFixture, wait_until};

use super::{exists, make, make_account, reconcile, strays};
use crate::stage::{BILLING, Held, Rights, SOON, Stage, end, mint};

leasehold_testkit::each_version! {
    a_stray_is_told_then_ended_and_others_are_left_alone,
    a_vanished_account_ends_its_lease,
}

/// The metric that counts passes of the reconciler.
const PASSES: &str = "leasehold_reconcile_passes_total{";

/// A broker that was started on a store which knows of a mint, so that what is older can only be a stray.
async fn used(postgres: Installation, reconcile_seconds: u64) -> (Stage, Broker, Held) {
    let pg = PgFixture::shared(postgres).await;
    let stage = Stage::new(pg, Rights::CreateRole).await.with_target("ttl = \"10m\"");
    let stage = stage.limit("reconcile_seconds", reconcile_seconds);
    let mut broker = stage.broker().await;
    let held = mint(&stage.client(&broker, BILLING), "10m").await.expect("a mint");
    broker.restart().await.expect("start it again");
    // The pass that each start begins with is over: from here on only who is asked, or the clock, begins one.
    wait_until(SOON, "the first pass", || async {
        broker.ops("/metrics").await.is_ok_and(|(_, text)| text.lines().any(|line| line.starts_with(PASSES)))
    })
    .await;
    (stage, broker, held)
}

/// Our account's name with another lease's id, some time before now.
fn older(held: &Held, age: Duration) -> String {
    let id = LeaseId::at(clock::wall().minus(age)).to_string();
    held.lease.account.replace(&held.lease.id, &id)
}

async fn a_stray_is_told_then_ended_and_others_are_left_alone(postgres: Installation) {
    let (stage, broker, held) = used(postgres, 3600).await;
    let stray = older(&held, Duration::from_secs(3600));
    let mut session = make(&stage, &stray).await;
    let tag = held.lease.account.split('_').nth(2).expect("a tag");
    let other_store = older(&held, Duration::from_secs(60)).replace(&format!("_{tag}_"), "_zzzz_");
    let other_cluster = stray.replace(&format!("lh_{}_", stage.cluster), &format!("lh_x{}_", stage.cluster));
    let no_account = format!("lh_{}_{tag}_short", stage.cluster);
    let left_alone = [&other_store, &other_cluster, &no_account];
    let mut sessions = Vec::new();
    for name in left_alone {
        sessions.push(make(&stage, name).await);
    }

    let told = reconcile(&stage, &broker, &["--dry-run"]).await;
    assert_eq!(strays(&told), [(stray.clone(), "would_revoke".to_owned())]);
    assert!(session.is_alive().await, "a dry run only tells");
    let done = reconcile(&stage, &broker, &[]).await;
    assert_eq!(strays(&done), [(stray.clone(), "revoked".to_owned())]);
    assert_eq!(done["foreign"], 1, "the other store's: {done}");
    session.wait_until_dead(SOON).await;
    assert!(!exists(&stage, &stray).await);
    for (name, session) in left_alone.into_iter().zip(&mut sessions) {
        assert!(exists(&stage, name).await && session.is_alive().await, "{name}");
    }
    assert!(strays(&reconcile(&stage, &broker, &[]).await).is_empty());
    assert!(stage.session(&held).await.is_alive().await);
    let audit = std::fs::read_to_string(stage.config.audit_path()).expect("the audit log");
    assert!(audit.contains(&stray) && !audit.contains(&other_cluster), "the stray is on record");
    stage.assert_audit_holds(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strays_are_found_without_being_asked() {
    let (stage, _broker, held) = used(leasehold_testkit::distribution(), 1).await;
    let stray = older(&held, Duration::from_secs(3600));
    make_account(&stage, &stray).await;
    wait_until(SOON, "the stray to be gone", || async { !exists(&stage, &stray).await }).await;
    assert!(stage.session(&held).await.is_alive().await);
}

async fn a_vanished_account_ends_its_lease(postgres: Installation) {
    let (stage, broker, held) = used(postgres, 3600).await;
    let other = mint(&stage.client(&broker, BILLING), "10m").await.expect("a mint");
    let drop = format!("DROP ROLE \"{}\"", held.lease.account);
    stage.pg.superuser().await.execute(&drop).await.expect("drop it by hand");
    let told = reconcile(&stage, &broker, &["--dry-run"]).await;
    assert_eq!(told["vanished"], serde_json::json!([held.lease.id]));
    assert_eq!(stage.lease(&broker, &held.lease.id).await.state, "active");
    let done = reconcile(&stage, &broker, &[]).await;
    assert_eq!(done["vanished"], serde_json::json!([held.lease.id]));
    assert_eq!(end(&stage.over(&broker, &held.lease.id).await), ("revoked", Some("vanished")));
    assert_eq!(stage.lease(&broker, &other.lease.id).await.state, "active");
    stage.quiet(&broker).await;
}
