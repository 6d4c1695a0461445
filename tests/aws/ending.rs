//! What ending a session is worth: denied within minutes where its role allows that, and never called revoked.

use leasehold_testkit::{IamSession, Verdict};
use serde_json::{Value, json};

use super::world::{ACCOUNT, Held, INVOICES, LEGACY, NEIGHBOUR, PLAIN, World, mint};
use crate::stage::{BILLING, OPERATOR};

const RIGHTS: &str = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}"#;

/// What somebody who knows nothing of us says that this session may do, by what stands in its role's policies.
async fn verdict(world: &World, held: &Held, deny: &Option<Value>) -> Verdict {
    let rights: Value = serde_json::from_str(RIGHTS).unwrap();
    let issued = held.lease.issued_at.split('.').next().unwrap().to_owned() + "Z";
    let mut session = IamSession::new(ACCOUNT, "invoices", &held.lease.id)
        .policy(rights)
        .context("aws:SourceIdentity", held.lease.id.as_str())
        .context("aws:userid", format!("{}:{}", world.role.id, held.lease.id))
        .context("aws:TokenIssueTime", issued);
    if let Some(deny) = deny {
        session = session.policy(deny.clone());
    }
    session.verdict("s3:GetObject", "arn:aws:s3:::invoices/1").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_ended_is_denied_and_its_neighbour_lives() {
    let world = World::new().await;
    let broker = world.broker().await;
    let (client, neighbour) = (world.stage.client(&broker, BILLING), world.stage.client(&broker, NEIGHBOUR));
    let (held, beside) = (mint(&client, INVOICES).await, mint(&neighbour, INVOICES).await);
    let ended = client.revoke(&held.lease.id).await.expect("an answer");
    assert_eq!(
        (ended.state.as_str(), ended.ended_by.as_deref()),
        ("revoking", Some("caller")),
        "published is not ended"
    );
    let notice = ended.notice.clone().expect("a notice");
    assert!(notice.contains("denied by a policy") && notice.contains("within minutes"), "{notice}");
    assert_eq!(ended.worst_case_until, held.lease.worst_case_until);

    let policy = world.denied(&held.lease).await;
    assert!(policy.is_some());
    assert_eq!(verdict(&world, &held, &policy).await, Verdict::ExplicitlyDenied);
    assert_eq!(verdict(&world, &beside, &policy).await, Verdict::Allowed);
    assert_eq!(world.lease(&broker, &beside.lease.id).await.state, "active");

    // Nothing is lost by a death, nor by another hand in the account.
    drop(broker);
    let name = held.lease.account.rsplit_once('_').unwrap().0.to_owned();
    let ask = json!({ "RoleName": "invoices", "PolicyName": name });
    world.moto.call("iam", "delete_role_policy", ask).await.expect("somebody takes it away");
    let broker = world.broker().await;
    let operator = world.stage.client(&broker, OPERATOR);
    operator.revoke(&beside.lease.id).await.expect("an answer");
    let policy = world.denied(&held.lease).await;
    for each in [&held, &beside] {
        assert_eq!(verdict(&world, each, &policy).await, Verdict::ExplicitlyDenied, "what was told stands");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_identity_takes_no_more_than_its_share_of_the_policy() {
    let mut world = World::new().await;
    world.stage = world.stage.limit("aws_deny_entries_per_identity", 2);
    let broker = world.broker().await;
    let client = world.stage.client(&broker, BILLING);
    let mut last = None;
    for n in 0..3 {
        let held = mint(&client, INVOICES).await;
        let ended = client.revoke(&held.lease.id).await.expect("an answer");
        let notice = ended.notice.expect("a notice");
        assert_eq!(notice.contains("aws_deny_entries_per_identity"), n == 2, "{n}: {notice}");
        last = Some(held);
    }
    let last = last.unwrap();
    let policy = world.denied(&last.lease).await;
    assert_eq!(verdict(&world, &last, &policy).await, Verdict::Allowed, "it runs to its end");
    // An operator's own order takes no share of anybody's.
    let held = mint(&client, INVOICES).await;
    let ended = world.stage.client(&broker, OPERATOR).revoke(&held.lease.id).await.expect("an answer");
    assert!(ended.notice.is_some_and(|notice| notice.contains("denied by a policy")));
    let policy = world.denied(&held.lease).await;
    assert_eq!(verdict(&world, &held, &policy).await, Verdict::ExplicitlyDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_aws_cannot_revoke_says_so() {
    let world = World::new().await;
    let broker = world.broker().await;
    let client = world.stage.client(&broker, BILLING);
    let held = mint(&client, PLAIN).await;
    let ended = client.revoke(&held.lease.id).await.expect("an answer");
    assert_eq!((ended.state.as_str(), ended.revocable.as_str()), ("revoking", "none"));
    let notice = ended.notice.expect("a notice");
    assert!(notice.contains("AWS cannot revoke") && notice.contains("works until"), "{notice}");
    assert!(world.moto.calls_of("PutRolePolicy").is_empty());
    // A user is another matter.
    let user = mint(&client, LEGACY).await;
    assert_eq!(client.revoke(&user.lease.id).await.expect("an answer").state, "revoked");
}
