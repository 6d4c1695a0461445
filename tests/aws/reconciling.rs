//! What exists there beside what the store knows: users are listed, sessions are not.

use std::time::Duration;

use leasehold_client::wire::ReconcileRequest;
use leasehold_sdk::{LeaseId, clock};
use leasehold_testkit::wait_until;
use serde_json::json;

use super::world::{INVOICES, LEGACY, World, mint};
use crate::stage::{BILLING, OPERATOR, SOON};

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_not_missed_a_vanished_user_is_and_a_stray_is_ended() {
    let world = World::new().await;
    let mut broker = world.broker().await;
    let client = world.stage.client(&broker, BILLING);
    let (session, user, gone) =
        (mint(&client, INVOICES).await, mint(&client, LEGACY).await, mint(&client, LEGACY).await);
    broker.restart().await.expect("start it again");
    world.asserts(&broker).await;
    let made = clock::wall();

    let stray =
        user.lease.account.replace(&user.lease.id, &LeaseId::at(made.minus(Duration::from_secs(3600))).to_string());
    let path = format!("/leasehold/{}/", world.stage.cluster);
    for (operation, ask) in [
        ("create_user", json!({ "UserName": stray, "Path": path })),
        ("create_access_key", json!({ "UserName": stray })),
        ("delete_user_policy", json!({ "UserName": gone.lease.account, "PolicyName": "leasehold-end" })),
        ("delete_user_policy", json!({ "UserName": gone.lease.account, "PolicyName": "leasehold-role" })),
        ("delete_access_key", json!({ "UserName": gone.lease.account, "AccessKeyId": gone.key.access_key_id })),
        ("delete_user", json!({ "UserName": gone.lease.account })),
    ] {
        world.moto.call("iam", operation, ask).await.unwrap_or_else(|e| panic!("{operation}: {}", e.message));
    }
    // Before, that it is not listed could be IAM's delay.
    wait_until(SOON, "the users to be known", || async { clock::wall().since(made) > Duration::from_secs(3) }).await;
    let operator = world.stage.client(&broker, OPERATOR);
    operator.reconcile(&ReconcileRequest::default()).await.expect("a pass");
    world.quiet(&broker).await;
    assert!(!world.users().await.contains(&stray), "a stray is ended with its key");
    let vanished = world.lease(&broker, &gone.lease.id).await;
    assert_eq!((vanished.state.as_str(), vanished.ended_by.as_deref()), ("revoked", Some("vanished")));
    for lives in [&session, &user] {
        assert_eq!(world.lease(&broker, &lives.lease.id).await.state, "active", "{}", lives.lease.role);
    }
}
