//! Lists and counts.

use std::collections::BTreeMap;

use leasehold_sdk::LeaseId;

use super::super::{Filter, Scope, Store, Turn, Visible};
use super::{active, at, identity, pending};
use crate::domain::lease::{EndedBy, Lease, State};

pub(super) async fn run<S: Store + 'static>(open: &impl AsyncFn(&str) -> S) {
    lists_show_what_is_visible_newest_first(&open("lists").await).await;
    the_due_are_claimed_in_the_order_in_which_they_fell_due(&open("order").await).await;
}

/// Nine leases: roles r0..r2, targets t0..t1, identities w0..w2, in turn.
async fn nine(store: &dyn Store) -> Vec<Lease> {
    let mut leases = Vec::new();
    for i in 0..9 {
        let lease = active(store, &format!("r{}", i % 3), &format!("t{}", i % 2), &format!("w{}", i / 3)).await;
        leases.push(lease);
    }
    leases.sort_by_key(|l| l.id);
    leases
}

fn filter(role: Option<&str>, target: Option<&str>, who: Option<&str>, state: Option<State>) -> Filter {
    let owned = |s: Option<&str>| s.map(str::to_owned);
    let identity = who.map(|w| identity(w).as_str().to_owned());
    Filter { role: owned(role), target: owned(target), identity, state }
}

async fn ids(store: &dyn Store, visible: &Visible, filter: &Filter) -> Vec<LeaseId> {
    // Page by page, as the API does.
    let (mut all, mut before) = (Vec::new(), None);
    loop {
        let page = store.list(visible, filter, before, 2).await.unwrap();
        all.extend(page.iter().map(|l| l.id));
        match page.last() {
            Some(last) => before = Some(last.id),
            None => return all,
        }
    }
}

async fn lists_show_what_is_visible_newest_first(store: &dyn Store) {
    let leases = nine(store).await;
    store.end(leases[4].id, EndedBy::Caller, at(1)).await.unwrap();
    let expected = |keep: &dyn Fn(&Lease) -> bool| -> Vec<LeaseId> {
        leases.iter().rev().filter(|l| keep(l)).map(|l| l.id).collect()
    };
    let all = Visible::All;
    assert_eq!(ids(store, &all, &Filter::default()).await, expected(&|_| true));
    assert_eq!(ids(store, &all, &filter(Some("r1"), None, None, None)).await, expected(&|l| l.role == "r1"));
    assert_eq!(ids(store, &all, &filter(None, Some("t1"), None, None)).await, expected(&|l| l.target == "t1"));
    let w2 = identity("w2");
    assert_eq!(ids(store, &all, &filter(None, None, Some("w2"), None)).await, expected(&|l| l.identity == w2));
    assert_eq!(ids(store, &all, &filter(None, None, None, Some(State::Revoking))).await, [leases[4].id]);
    assert!(ids(store, &all, &filter(Some("r"), None, None, None)).await.is_empty());

    let own = Visible::Own { identity: w2.clone(), roles: vec!["r0".to_owned(), "r1".to_owned()] };
    let seen = |l: &Lease| l.identity == w2 || l.role == "r0" || l.role == "r1";
    assert_eq!(ids(store, &own, &Filter::default()).await, expected(&seen));
    let of_t0 = filter(None, Some("t0"), None, None);
    assert_eq!(ids(store, &own, &of_t0).await, expected(&|l| seen(l) && l.target == "t0"));
    let foreign = filter(Some("r2"), None, Some("w0"), None);
    assert!(ids(store, &own, &foreign).await.is_empty());
    assert!(store.list(&all, &Filter::default(), None, 0).await.unwrap().is_empty());
    walked_by_target(store, &leases).await;
}

async fn walked_by_target(store: &dyn Store, leases: &[Lease]) {
    let of_t0: Vec<_> = leases.iter().filter(|l| l.target == "t0").map(|l| l.id).collect();
    let first = store.live_of_target("t0", None, 3).await.unwrap();
    assert_eq!(first.iter().map(|live| live.id).collect::<Vec<_>>(), of_t0[..3]);
    let states: Vec<_> =
        store.live_of_target("t0", None, 100).await.unwrap().into_iter().map(|live| live.state).collect();
    assert_eq!(states.iter().filter(|s| **s == State::Revoking).count(), 1);
    assert_eq!(first[0].worst_case_until, Some(at(10_000)));
    let rest = store.live_of_target("t0", Some(of_t0[2]), 100).await.unwrap();
    assert_eq!(rest.iter().map(|live| live.id).collect::<Vec<_>>(), of_t0[3..]);
    assert_eq!(store.count_live(&filter(Some("r1"), None, None, None)).await.unwrap(), 3);
    assert_eq!(store.count_live(&filter(Some("r1"), None, Some("w1"), None)).await.unwrap(), 1);
    assert_eq!(store.count_live(&filter(None, None, None, Some(State::Active))).await.unwrap(), 8);
    let by_target = BTreeMap::from([("t0".to_owned(), 5), ("t1".to_owned(), 4)]);
    assert_eq!(store.live_by_target().await.unwrap(), by_target);
    assert_eq!(store.live_targets().await.unwrap(), by_target.into_keys().collect());
    assert_eq!(store.due_and_live(at(10_000)).await.unwrap(), (9, 9));
}

async fn the_due_are_claimed_in_the_order_in_which_they_fell_due(store: &dyn Store) {
    let (a, b) = (active(store, "r", "t", "a").await, active(store, "r", "t", "a").await);
    let (c, other) = (pending(store, "r", "t", "a").await, active(store, "r", "u", "a").await);
    store.renew(a.id, at(12_000)).await.unwrap();
    let order = async |limit| {
        let rows = store.claim_due("t", Turn::First, Scope::Due, at(50_000), at(60_000), limit).await.unwrap();
        rows.iter().map(|r| r.lease.id).collect::<Vec<_>>()
    };
    assert_eq!(order(2).await, [c.id, b.id]);
    assert_eq!(order(2).await, [a.id]);
    assert!(order(2).await.is_empty());
    assert_eq!(store.get(other.id).await.unwrap().unwrap().lease.state, State::Active);
}
