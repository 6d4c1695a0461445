//! Ending.

use std::time::Duration;

use super::harness::{Harness, PATIENCE, from_now, order};
use crate::{EngineError, RevokeOrder, clock};

pub(super) async fn revoking_twice_is_fine(h: &Harness<'_>) {
    let (plan, minted) = h.made().await;
    h.end(&plan, Some(&minted.receipt)).await;
    h.end(&plan, Some(&minted.receipt)).await;
}

/// Law 3: before the deadline of its mint, "not there" proves nothing.
pub(super) async fn what_was_never_made_ends_after_its_deadline_only(h: &Harness<'_>) {
    let (plan, deadline) = (h.plan(), from_now(2));
    if h.subject.ends_ahead() {
        h.revoke_by(&plan, None, deadline).await.unwrap_or_else(|e| panic!("end {} ahead: {e}", plan.account));
        let late = h.mint(&plan).await.expect("it is made although it is ended");
        assert!(h.subject.login(&late.credential).await.is_err(), "what was made after its end logs in");
        return lost_receipt(h).await;
    }
    let answer = h.revoke_by(&plan, None, deadline).await;
    let Err(EngineError::Retry { after: Some(after), .. }) = answer else { panic!("before the deadline: {answer:?}") };
    assert!(after <= Duration::from_secs(60), "it says when to come again, not {after:?}");
    ends_in_time(h, &plan, deadline).await;

    lost_receipt(h).await;
}

/// An account whose receipt was lost is ended as any other.
async fn lost_receipt(h: &Harness<'_>) {
    let (plan, _) = h.made().await;
    h.end(&plan, None).await;
}

pub(super) async fn one_bad_order_leaves_the_others(h: &Harness<'_>) {
    let (a, b) = (h.made().await, h.made().await);
    let mut broken = h.plan();
    broken.body = serde_json::json!(17);
    let order = |plan: &crate::Plan, receipt| RevokeOrder::now(plan.clone(), receipt, h.past_deadline());
    let orders = [
        order(&a.0, Some(a.1.receipt.clone())),
        order(&broken, None),
        order(&b.0, Some(b.1.receipt.clone())),
        order(&h.plan(), None),
    ];
    let answers = h.engine().revoke(&orders).await;
    let shape: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(shape, [true, false, true, true], "{answers:?}");
    h.assert_gone(&a.0).await;
    h.assert_gone(&b.0).await;
}

pub(super) async fn a_stray_is_ended_by_its_name(h: &Harness<'_>) {
    // Where nothing is listed, no stray is ever found.
    if h.list(1).await.is_none() {
        return;
    }
    let (plan, minted) = h.made().await;
    let stray = h.engine().plan_for_stray(&plan.account, &h.fingerprint);
    h.revoke_by(&stray, None, h.past_deadline()).await.unwrap_or_else(|e| panic!("revoke a stray: {e}"));
    h.assert_gone(&plan).await;
    assert!(h.subject.login(&minted.credential).await.is_err());
}

/// The core may give up on a call at any await; what it then does is what it does after a crash.
pub(super) async fn a_mint_that_is_given_up_leaves_nothing(h: &Harness<'_>) {
    for patience_ms in [0, 1, 2, 4, 8, 16] {
        let plan = h.plan();
        let deadline = from_now(1);
        let mut order = order(&plan);
        order.deadline = deadline;
        let _given_up = tokio::time::timeout(Duration::from_millis(patience_ms), h.engine().mint(vec![order])).await;
        ends_in_time(h, &plan, deadline).await;
    }
}

async fn ends_in_time(h: &Harness<'_>, plan: &crate::Plan, mint_deadline: crate::Timestamp) {
    let until = clock::boot() + PATIENCE;
    loop {
        match h.revoke_by(plan, None, mint_deadline).await {
            Ok(()) => break,
            Err(e) => assert!(clock::boot() < until, "{} never ends: {e}", plan.account),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    h.assert_gone(plan).await;
}
