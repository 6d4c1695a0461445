//! Two that want the same: exactly one gets it.

use std::collections::BTreeSet;
use std::sync::Arc;

use leasehold_sdk::LeaseId;

use super::super::{Inserted, Live, NewLease, Outcome, Scope, Settled, Store, Turn};
use super::{active, at, at_once, new_lease, pending, receipt, shared};
use crate::domain::lease::{EndedBy, State};

pub(super) async fn run<S: Store + 'static>(open: &impl AsyncFn(&str) -> S) {
    two_claimers_never_get_the_same(shared(open, "claimers").await).await;
    a_mint_and_its_deadline_have_one_winner(shared(open, "deadline").await).await;
    a_cap_is_never_passed(shared(open, "cap").await).await;
    a_due_replacement_passes_the_cap_once(shared(open, "follow").await).await;
    a_renewal_and_an_end_have_one_winner(shared(open, "renewal").await).await;
}

async fn two_claimers_never_get_the_same(store: Arc<dyn Store>) {
    for _ in 0..60 {
        active(&*store, "r", "t", "a").await;
    }
    let claimed = at_once(12, |_| {
        let store = Arc::clone(&store);
        async move { store.claim_due("t", Turn::First, Scope::Due, at(10_000), at(20_000), 7).await.unwrap() }
    })
    .await;
    let ids: Vec<LeaseId> = claimed.into_iter().flatten().map(|r| r.lease.id).collect();
    assert_eq!(ids.len(), 60, "12 claims of 7 take all 60");
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 60, "none twice");
}

async fn a_mint_and_its_deadline_have_one_winner(store: Arc<dyn Store>) {
    for i in 0..40 {
        let id = pending(&*store, "r", "t", "a").await.id;
        let (s1, s2) = (Arc::clone(&store), Arc::clone(&store));
        let mint = tokio::spawn(async move { s1.activate(id, receipt()).await.unwrap() });
        if i % 2 == 0 {
            tokio::task::yield_now().await;
        }
        let reap = tokio::spawn(async move {
            s2.claim_due("t", Turn::First, Scope::Due, at(1000), at(2000), 10).await.unwrap().len()
        });
        let (active, claimed) = (mint.await.unwrap(), reap.await.unwrap());
        assert_eq!(usize::from(active) + claimed, 1);
        let state = store.get(id).await.unwrap().unwrap().lease.state;
        assert_eq!(state, if active { State::Active } else { State::Revoking });
    }
}

async fn a_cap_is_never_passed(store: Arc<dyn Store>) {
    let insert = |role: &'static str, live_max| {
        let store = Arc::clone(&store);
        async move { store.insert(NewLease { live_max, ..new_lease(role, "t", "a") }).await.unwrap() }
    };
    let all = at_once(30, |_| insert("r", 5)).await;
    assert_eq!(all.iter().filter(|i| **i == Inserted::Recorded).count(), 5);
    // Of this identity and role only; a cap of none takes none.
    assert_eq!(insert("other", 5).await, Inserted::Recorded);
    assert_eq!(insert("empty", 0).await, Inserted::CapReached);
    assert_eq!(insert("r", 5).await, Inserted::CapReached);
    // An ended lease frees its place; one that is still being ended does not.
    let of_r = store.live_of_target("t", None, 1).await.unwrap().remove(0).id;
    store.end(of_r, EndedBy::Caller, at(0)).await.unwrap();
    assert_eq!(insert("r", 5).await, Inserted::CapReached);
    store.settle(vec![Settled { id: of_r, outcome: Outcome::Dead }], at(1)).await.unwrap();
    assert_eq!(insert("r", 5).await, Inserted::Recorded);
}

/// Law 8: replacing a held lease is never refused by a cap, but only one may follow it beyond the cap.
async fn a_due_replacement_passes_the_cap_once(store: Arc<dyn Store>) {
    let (old, idle) = (active(&*store, "r", "t", "a").await.id, pending(&*store, "r", "t", "a").await.id);
    let follow = |role: &'static str, who: &'static str, replaces| {
        let store = Arc::clone(&store);
        let replaces = Some(replaces);
        async move { store.insert(NewLease { live_max: 1, replaces, ..new_lease(role, "t", who) }).await.unwrap() }
    };
    assert_eq!(follow("r", "a", LeaseId::new()).await, Inserted::CapReached);
    assert_eq!(follow("r", "a", idle).await, Inserted::CapReached, "what is not active needs no successor");
    active(&*store, "r", "t", "b").await;
    active(&*store, "other", "t", "a").await;
    assert_eq!(follow("r", "b", old).await, Inserted::CapReached, "it is not theirs");
    assert_eq!(follow("other", "a", old).await, Inserted::CapReached, "it is of another role");
    let all = at_once(10, |_| follow("r", "a", old)).await;
    assert_eq!(all.iter().filter(|i| **i == Inserted::Recorded).count(), 1);
    // The one that followed failed and is closed: another may follow.
    for Live { id, state, .. } in store.live_of_target("t", None, 100).await.unwrap() {
        if state == State::Pending && id != idle {
            store.close_unmade(id, at(1)).await.unwrap();
        }
    }
    assert_eq!(follow("r", "a", old).await, Inserted::Recorded);
    assert_eq!(follow("r", "a", old).await, Inserted::CapReached);
}

async fn a_renewal_and_an_end_have_one_winner(store: Arc<dyn Store>) {
    for _ in 0..20 {
        let id = active(&*store, "r", "t", "a").await.id;
        let (s1, s2) = (Arc::clone(&store), Arc::clone(&store));
        let renew = tokio::spawn(async move { s1.renew(id, at(50_000)).await.unwrap() });
        let end = tokio::spawn(async move { s2.end(id, EndedBy::Caller, at(5)).await.unwrap().unwrap() });
        let (renewed, ended) = (renew.await.unwrap(), end.await.unwrap());
        assert_eq!(ended.lease.state, State::Revoking);
        let row = store.get(id).await.unwrap().unwrap();
        assert_eq!((row.lease.state, row.due_at), (State::Revoking, at(5)));
        assert_eq!(row.lease.expires_at, if renewed.is_some() { at(50_000) } else { at(10_000) });
    }
}
