//! Listing.

use super::harness::{Harness, order};

pub(super) async fn the_list_is_paged_and_complete(h: &Harness<'_>) {
    let Some(before) = h.list(100).await else { return };
    assert!(before.is_empty(), "left over from other cases: {before:?}");

    let plans: Vec<_> = (0..5).map(|_| h.plan()).collect();
    let mut minted = Vec::new();
    for plan in &plans {
        let answer = h.engine().mint(vec![order(plan)]).await.remove(0);
        minted.push(answer.unwrap_or_else(|e| panic!("mint: {e}")));
    }
    let mut names: Vec<String> = plans.iter().map(|p| p.account.to_string()).collect();
    names.sort();
    for limit in [1, 2, 5, 100] {
        let listed: Vec<String> = h.list(limit).await.unwrap_or_default().iter().map(ToString::to_string).collect();
        assert_eq!(listed, names, "in pages of {limit}");
    }
    for (plan, minted) in plans.iter().zip(&minted) {
        h.end(plan, Some(&minted.receipt)).await;
    }
    assert_eq!(h.list(100).await.unwrap_or_default(), []);
}
