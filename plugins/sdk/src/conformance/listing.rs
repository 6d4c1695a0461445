//! Listing.

use super::harness::{Harness, order};

pub(super) async fn the_list_is_paged_and_complete(h: &Harness<'_>) {
    let Some(before) = h.list(100).await else { return };
    assert!(before.is_empty(), "left over from other cases: {before:?}");

    let plans: Vec<_> = (0..5).map(|_| h.plan()).collect();
    let orders: Vec<_> = plans.iter().map(order).collect();
    let mut minted = Vec::new();
    for order in &orders {
        let answer = h.engine().mint(vec![order.clone()]).await.remove(0);
        minted.push(answer.unwrap_or_else(|e| panic!("mint: {e}")));
    }
    let mut names: Vec<String> = plans.iter().map(|p| p.account.to_string()).collect();
    names.sort();
    for limit in [1, 2, 5, 100] {
        let listed: Vec<String> = h.list(limit).await.unwrap_or_default().iter().map(ToString::to_string).collect();
        assert_eq!(listed, names, "in pages of {limit}");
    }
    // What the list tells of an account is what its mint said.
    for listed in h.listed(100).await.unwrap_or_default() {
        let at = plans.iter().position(|plan| plan.account == listed.account).expect("one of ours");
        assert!(listed.receipt.is_none_or(|receipt| receipt == minted[at].receipt), "{}", listed.account);
        let end = listed.expires_at.filter(|_| plans[at].expires_in_target);
        let off = end.map_or(0, |end| (end.unix_ms() - orders[at].expires_at.unix_ms()).abs());
        assert!(off <= 1000, "{} ends {off} ms away from what was ordered", listed.account);
    }
    for (plan, minted) in plans.iter().zip(&minted) {
        h.end(plan, Some(&minted.receipt)).await;
    }
    assert_eq!(h.list(100).await.unwrap_or_default(), []);
}
