//! What ending a session is worth: denied within minutes where its role allows that, and never called revoked.

use leasehold_client::wire::{RevokeManyRequest, Selector};
use leasehold_testkit::{IamSession, Verdict, wait_until};
use serde_json::{Value, json};

use super::world::{ACCOUNT, AUDITS, Held, INVOICES, LEGACY, NEIGHBOUR, PLAIN, World, mint};
use crate::stage::{BILLING, OPERATOR, SOON};

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

/// Two of our roles give sessions of one role there: a cut meets both, and whoever orders it has seen that.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_is_ordered_by_an_operator_who_has_seen_whom_it_meets() {
    let world = World::new().await;
    let broker = world.broker().await;
    let (client, neighbour) = (world.stage.client(&broker, BILLING), world.stage.client(&broker, NEIGHBOUR));
    let operator = world.stage.client(&broker, OPERATOR);
    let (held, beside, plain) =
        (mint(&client, INVOICES).await, mint(&neighbour, AUDITS).await, mint(&client, PLAIN).await);
    let cut = |role: &str, dry_run: Option<bool>, expect| RevokeManyRequest {
        cut: Some(true),
        dry_run,
        expect,
        ..RevokeManyRequest::of(Selector::Role(role.to_owned()))
    };
    let refused = client.revoke_many(&cut(INVOICES, Some(true), None)).await.expect_err("no operator");
    assert_eq!(refused.status(), Some(403));
    assert_eq!(
        operator.revoke_many(&cut(PLAIN, None, Some(1))).await.expect_err("not such a role").status(),
        Some(400)
    );
    assert_eq!(operator.revoke_many(&cut(INVOICES, None, None)).await.expect_err("unseen").status(), Some(409));
    let seen = operator.revoke_many(&cut(INVOICES, Some(true), None)).await.expect("a dry run");
    let listed: Vec<String> = seen.leases.expect("whom").into_iter().map(|lease| lease.id).collect();
    assert_eq!(seen.matched, listed.len() as u64);
    for met in [&held, &beside, &plain] {
        assert!(listed.contains(&met.lease.id), "{}: those too that nobody can end one by one", met.lease.role);
    }
    assert!(world.denied(&held.lease).await.is_none(), "a dry run is dry");

    // Sessions tell the second in which they were made, and one of the same second would be met.
    operator.revoke_many(&cut(INVOICES, None, Some(seen.matched))).await.expect("the order");
    wait_until(SOON, "both to be told", || async {
        let told = async |held: &Held| world.lease(&broker, &held.lease.id).await.notice.is_some();
        told(&held).await && told(&beside).await
    })
    .await;
    let policy = world.denied(&held.lease).await;
    assert_eq!(policy.as_ref().expect("a policy")["Statement"][0]["Sid"], "LeaseholdCut", "{policy:?}");
    for each in [&held, &beside] {
        assert_eq!(verdict(&world, each, &policy).await, Verdict::ExplicitlyDenied);
    }
    let cut_at =
        policy.as_ref().and_then(|p| p["Statement"][0]["Condition"]["DateLessThan"]["aws:TokenIssueTime"].as_str());
    let cut_at: leasehold_sdk::Timestamp = cut_at.expect("a moment").parse().expect("a moment");
    wait_until(SOON, "its second to be over", || async { leasehold_sdk::clock::wall() > cut_at }).await;
    let after = mint(&client, INVOICES).await;
    assert_eq!(verdict(&world, &after, &policy).await, Verdict::Allowed, "what comes after lives");
    assert_eq!(world.lease(&broker, &plain.lease.id).await.ended_by.as_deref(), Some("operator"));
}
