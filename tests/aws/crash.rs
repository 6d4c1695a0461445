//! SIGKILL at each step of a user's life: a user or key without a lease: none.

use std::os::unix::process::ExitStatusExt;

use futures_util::StreamExt;
use leasehold_client::wire::MintRequest;
use leasehold_testkit::wait_until;
use serde_json::json;

use super::world::{LEGACY, World, mint};
use crate::stage::{BILLING, SOON};

/// The steps in which a user is there, half or whole, while a mint is under way.
const MINTING: [&str; 6] =
    ["mint.recorded", "aws.user_made", "aws.key_made", "mint.made", "mint.activated", "mint.on_record"];

/// And those in which it is being ended.
const ENDING: [&str; 6] =
    ["revoke.ordered", "revoke.claimed", "revoke.fenced", "revoke.dropped", "revoke.dead", "revoke.settled"];

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_each_step_no_user_is_left() {
    let stories = MINTING.into_iter().map(|step| (step, true)).chain(ENDING.into_iter().map(|step| (step, false)));
    let run = |(step, making): (&'static str, bool)| async move {
        if making { minting(step).await } else { ending(step).await }
    };
    futures_util::stream::iter(stories).map(run).buffer_unordered(4).collect::<Vec<()>>().await;
}

async fn minting(step: &str) {
    let world = World::new().await;
    let mut broker = world.stage.broker_that_dies_at(step).await;
    let client = world.stage.client(&broker, BILLING);
    let ask = MintRequest { ttl: Some("4s".into()), ..MintRequest::default() };
    // The key of its assertions may not be there yet: then nothing is begun.
    wait_until(SOON, &format!("{step}: the broker to die"), || async {
        client.mint(LEGACY, &ask).await.is_err() && broker.pid().is_none_or(|pid| !is_running(pid))
    })
    .await;
    assert_eq!(broker.wait_for_exit().await.expect("it dies").signal(), Some(9), "{step}");
    drop(broker);
    let broker = world.broker().await;
    wait_until(SOON, &format!("{step}: the interrupted mint to end"), || async {
        world.stage.leases(&broker).await.iter().all(|lease| lease.role != LEGACY || lease.is_over())
    })
    .await;
    world.quiet(&broker).await;
    world.stage.assert_audit_holds(&broker).await;
}

async fn ending(step: &str) {
    let world = World::new().await;
    let first = world.broker().await;
    let client = world.stage.client(&first, BILLING);
    let (bystander, victim) = (mint(&client, LEGACY).await, mint(&client, LEGACY).await);
    // It has made itself another key, as its rights let it.
    world
        .moto
        .call("iam", "create_access_key", json!({ "UserName": victim.lease.account }))
        .await
        .expect("another key");
    drop(first);

    let mut broker = world.stage.broker_that_dies_at(step).await;
    let client = world.stage.client(&broker, BILLING);
    let _ = client.revoke(&victim.lease.id).await;
    assert_eq!(broker.wait_for_exit().await.expect("it dies").signal(), Some(9), "{step}");
    drop(broker);
    let broker = world.broker().await;
    let leases = world.quiet(&broker).await;
    let state = |id: &str| leases.iter().find(|lease| lease.id == id).map(|lease| lease.state.clone());
    assert_eq!(state(&victim.lease.id).as_deref(), Some("revoked"), "{step}");
    assert_eq!(state(&bystander.lease.id).as_deref(), Some("active"), "{step}");
}

fn is_running(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z"))
}
