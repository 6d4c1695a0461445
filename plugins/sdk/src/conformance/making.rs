//! Making.

use super::harness::{Harness, ago, assert_dies, from_now, order};
use crate::{EngineError, Fingerprint, RenewOrder};

pub(super) async fn a_credential_lives_is_renewed_and_dies(h: &Harness<'_>) {
    let (plan, minted) = h.made().await;
    let mut probe = h.subject.login(&minted.credential).await.expect("the credential logs in");
    assert!(probe.is_alive().await);
    assert!(h.subject.exists(&plan.account).await, "the account has the name that was decided for it");

    let renewal = RenewOrder { plan: plan.clone(), receipt: minted.receipt.clone(), expires_at: from_now(7200) };
    let renewed = h.engine().renew(&[renewal]).await;
    let as_planned = renewed.len() == 1 && renewed[0].is_ok() == plan.renewable;
    assert!(as_planned, "renew, with renewable = {}: {renewed:?}", plan.renewable);
    h.subject.login(&minted.credential).await.expect("it logs in after its renewal too");

    h.end(&plan, Some(&minted.receipt)).await;
    assert!(h.subject.login(&minted.credential).await.is_err(), "a dead credential logs in");
    assert_dies(probe).await;
}

pub(super) async fn a_mint_past_its_deadline_makes_nothing(h: &Harness<'_>) {
    let plan = h.plan();
    let mut late = order(&plan);
    late.deadline = ago(1);
    let answer = h.engine().mint(vec![late]).await.remove(0);
    assert!(matches!(answer, Err(EngineError::Refused { .. })), "{answer:?}");
    h.assert_gone(&plan).await;
    h.revoke_by(&plan, None, h.past_deadline()).await.expect("nothing can make it any more");
}

pub(super) async fn a_foreign_fingerprint_is_refused(h: &Harness<'_>) {
    let foreign = Fingerprint("another server".into());
    let mut plan = h.plan();
    plan.fingerprint = foreign.clone();
    let answer = h.mint(&plan).await;
    assert!(matches!(answer, Err(EngineError::Refused { .. })), "mint: {answer:?}");
    h.assert_gone(&plan).await;

    // "Already gone" is success only where it was made.
    let answer = h.revoke_by(&plan, None, h.past_deadline()).await;
    let Err(EngineError::Refused { why }) = answer else { panic!("revoke elsewhere: {answer:?}") };
    assert!(why.as_str().contains(&foreign.0) && why.as_str().contains(&h.fingerprint.0), "{why}");

    let (mut plan, minted) = h.made().await;
    plan.fingerprint = foreign;
    assert!(h.revoke(&plan, Some(&minted.receipt)).await.is_err());
    assert!(h.subject.exists(&plan.account).await, "a plan for another server ended an account of this one");
    plan.fingerprint = h.fingerprint.clone();
    h.end(&plan, Some(&minted.receipt)).await;
}

/// Law 10: names of another cluster are never touched, whatever a row says.
pub(super) async fn an_edited_plan_touches_nobody(h: &Harness<'_>) {
    let mut plan = h.plan();
    let other = "someone-else".parse().expect("a cluster name");
    plan.account = crate::AccountName::new(other, h.subject.mark().tag.clone(), plan.account.lease());
    assert!(matches!(h.mint(&plan).await, Err(EngineError::Refused { .. })));
    h.assert_gone(&plan).await;
    assert!(matches!(h.revoke_by(&plan, None, h.past_deadline()).await, Err(EngineError::Refused { .. })));
}

pub(super) async fn one_bad_order_leaves_the_others(h: &Harness<'_>) {
    let good: Vec<_> = (0..3).map(|_| h.plan()).collect();
    let mut broken = h.plan();
    broken.body = serde_json::json!("no plan of any engine");
    let mut late = order(&h.plan());
    late.deadline = ago(1);
    let orders = vec![order(&good[0]), order(&broken), order(&good[1]), late, order(&good[2])];
    let answers = h.engine().mint(orders).await;
    let shape: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(shape, [true, false, true, false, true], "{answers:?}");
    h.assert_gone(&broken).await;
    for (plan, minted) in good.iter().zip(answers.into_iter().flatten()) {
        h.subject.login(&minted.credential).await.expect("each credential belongs to its own order");
        h.end(plan, Some(&minted.receipt)).await;
    }
}

pub(super) async fn many_at_once(h: &Harness<'_>) {
    let lanes = h.engine().throughput().mint_lanes + 2;
    let batch = h.engine().throughput().mint_batch_max.min(8);
    let plans: Vec<Vec<_>> = (0..lanes).map(|_| (0..batch).map(|_| h.plan()).collect()).collect();
    let calls = plans.iter().map(|lane: &Vec<crate::Plan>| h.engine().mint(lane.iter().map(order).collect()));
    for (lane, answers) in plans.iter().zip(futures_util::future::join_all(calls).await) {
        for (plan, answer) in lane.iter().zip(answers) {
            let minted = answer.unwrap_or_else(|e| panic!("mint {}: {e}", plan.account));
            h.end(plan, Some(&minted.receipt)).await;
        }
    }
}

pub(super) async fn params_arrive_as_they_are(h: &Harness<'_>) {
    let Some(role) = h.subject.role_with_param() else { return };
    let hostile =
        ["7", "", "'; DROP ROLE postgres; --", "a\\'b", "\"{{name}}\"", "$$x$$", "ä\u{202e}\n\t", "%s%n", "\0"];
    for value in hostile {
        let plan = match h.plan_of(&role, &[("tenant", value)]) {
            Ok(plan) => plan,
            Err(e) => {
                assert!(matches!(e, EngineError::Refused { .. }) && value.contains('\0'), "{value:?}: {e}");
                continue;
            }
        };
        let minted = h.mint(&plan).await.unwrap_or_else(|e| panic!("mint with the param {value:?}: {e}"));
        assert_eq!(h.subject.param(&plan.account).await.unwrap_or_default(), value);
        h.end(&plan, Some(&minted.receipt)).await;
    }
}
