//! Orders to end many leases.

use std::collections::BTreeSet;
use std::sync::Arc;

use leasehold_sdk::LeaseId;

use super::super::{Filter, NewOrder, Outcome, Scope, Settled, Store, Turn};
use super::{active, at, at_once, identity, pending, shared};
use crate::domain::lease::{EndedBy, State};

pub(super) async fn run<S: Store + 'static>(open: &impl AsyncFn(&str) -> S) {
    an_order_ends_what_it_is_about_step_by_step(&open("order-steps").await).await;
    what_is_made_later_is_not_meant(&open("order-later").await).await;
    each_filter_finds_its_own(&open("order-filters").await).await;
    a_small_order_does_not_wait_for_a_large_one(&open("order-fair").await).await;
    two_that_carry_on_end_each_lease_once(shared(open, "order-race").await).await;
    an_order_outlives_a_restart(open).await;
}

/// An order of an operator, about what there is in `store` now.
pub async fn order_of(store: &dyn Store, filter: Filter) -> NewOrder {
    let up_to = store.newest_lease().await.unwrap().unwrap_or_default();
    NewOrder { id: format!("o-{}", LeaseId::new()), at: at(1), by: EndedBy::Operator, filter, up_to }
}

fn of_role(role: &str) -> Filter {
    Filter { role: Some(role.to_owned()), ..Filter::default() }
}

async fn an_order_ends_what_it_is_about_step_by_step(store: &dyn Store) {
    let mut leases = Vec::new();
    for _ in 0..5 {
        leases.push(active(store, "r", "t", "a").await.id);
    }
    let late = pending(store, "r", "t", "b").await.id;
    let bystander = active(store, "other", "t", "a").await.id;
    store.end(leases[0], EndedBy::Caller, at(1)).await.unwrap();
    assert!(store.carry_on(at(2), 2).await.unwrap().is_none());
    assert!(store.order("o-unknown").await.unwrap().is_none());

    let new = order_of(store, of_role("r")).await;
    assert_eq!(store.place_order(&new).await.unwrap(), 6);
    let placed = store.order(&new.id).await.unwrap().unwrap();
    assert_eq!((placed.matched, placed.ordered, placed.left, placed.finished_at), (6, 0, 6, None));
    assert_eq!(placed.order, new);
    // Nothing is ended by being ordered: that is what the steps are for.
    assert_eq!(store.outbox(100).await.unwrap().len(), 1);

    let step = store.carry_on(at(2), 4).await.unwrap().unwrap();
    assert_eq!((step.order.as_str(), step.ended, step.finished), (new.id.as_str(), 4, false));
    let half = store.order(&new.id).await.unwrap().unwrap();
    assert_eq!((half.ordered, half.left, half.finished_at), (4, 6, None));
    let step = store.carry_on(at(3), 4).await.unwrap().unwrap();
    assert_eq!((step.ended, step.finished), (2, true));
    assert!(store.carry_on(at(4), 4).await.unwrap().is_none());
    let done = store.order(&new.id).await.unwrap().unwrap();
    assert_eq!((done.ordered, done.left, done.finished_at), (6, 6, Some(at(3))));

    // The first reason stays, and who was being ended already has one line only.
    assert_eq!(store.get(leases[0]).await.unwrap().unwrap().lease.ended_by, Some(EndedBy::Caller));
    assert_eq!(store.outbox(100).await.unwrap().len(), 6);
    let row = store.get(late).await.unwrap().unwrap();
    assert_eq!((row.lease.state, row.lease.ended_by), (State::Revoking, Some(EndedBy::Operator)));
    assert!(row.due_at <= at(3));
    assert_eq!(store.get(bystander).await.unwrap().unwrap().lease.state, State::Active);

    let rows = store.claim_due("t", Turn::First, Scope::AskedFor, at(5), at(100), 100).await.unwrap();
    assert_eq!(rows.len(), 6);
    let dead = rows.iter().map(|row| Settled { id: row.lease.id, outcome: Outcome::Dead }).collect();
    store.settle(dead, at(6)).await.unwrap();
    assert_eq!(store.order(&new.id).await.unwrap().unwrap().left, 0);
    let unfinished = order_of(store, of_role("r")).await;
    store.place_order(&unfinished).await.unwrap();
    assert_eq!(store.purge_orders(at(3), 10).await.unwrap(), 0);
    assert_eq!(store.purge_orders(at(4), 10).await.unwrap(), 1);
    assert!(store.order(&new.id).await.unwrap().is_none());
    assert!(store.order(&unfinished.id).await.unwrap().is_some());
}

async fn what_is_made_later_is_not_meant(store: &dyn Store) {
    let old = active(store, "r", "t", "a").await.id;
    let new = order_of(store, Filter::default()).await;
    assert_eq!(store.place_order(&new).await.unwrap(), 1);
    let later = loop {
        let later = active(store, "r", "t", "a").await.id;
        if later > old {
            break later;
        }
    };
    assert!(store.carry_on(at(2), 100).await.unwrap().unwrap().finished);
    assert_eq!(store.get(old).await.unwrap().unwrap().lease.state, State::Revoking);
    assert_eq!(store.get(later).await.unwrap().unwrap().lease.state, State::Active);
    // One that is about nothing is finished by its first step.
    let empty = order_of(store, of_role("nobody's")).await;
    assert_eq!(store.place_order(&empty).await.unwrap(), 0);
    let step = store.carry_on(at(3), 100).await.unwrap().unwrap();
    assert_eq!((step.ended, step.finished), (0, true));
}

async fn each_filter_finds_its_own(store: &dyn Store) {
    for i in 0..12 {
        active(store, &format!("r{}", i % 2), &format!("t{}", i % 3), &format!("w{}", i % 4)).await;
    }
    let some = |text: &str| Some(text.to_owned());
    let identity = Some(identity("w1").as_str().to_owned());
    for (filter, expected) in [
        (Filter { identity, ..Filter::default() }, 3),
        (Filter { target: some("t0"), ..Filter::default() }, 4),
        (Filter { target: some("t9"), ..Filter::default() }, 0),
        (of_role("r1"), 6),
        (Filter::default(), 12),
    ] {
        let new = order_of(store, filter).await;
        assert_eq!(store.place_order(&new).await.unwrap(), expected, "{new:?}");
        let mut ended = 0;
        while let Some(step) = store.carry_on(at(2), 2).await.unwrap() {
            ended += step.ended;
        }
        assert_eq!(ended, expected, "{new:?}");
    }
    let active = Filter { state: Some(State::Active), ..Filter::default() };
    assert_eq!(store.count_live(&active).await.unwrap(), 0);
}

async fn a_small_order_does_not_wait_for_a_large_one(store: &dyn Store) {
    for _ in 0..20 {
        active(store, "large", "t", "a").await;
    }
    active(store, "small", "t", "b").await;
    let (large, small) = (order_of(store, of_role("large")).await, order_of(store, of_role("small")).await);
    store.place_order(&large).await.unwrap();
    assert!(!store.carry_on(at(2), 3).await.unwrap().unwrap().finished);
    store.place_order(&small).await.unwrap();
    let next = store.carry_on(at(3), 3).await.unwrap().unwrap();
    assert_eq!((next.order, next.finished), (small.id, true));
}

async fn two_that_carry_on_end_each_lease_once(store: Arc<dyn Store>) {
    let mut all = BTreeSet::new();
    for _ in 0..40 {
        all.insert(active(&*store, "r", "t", "a").await.id);
    }
    let new = order_of(&*store, of_role("r")).await;
    store.place_order(&new).await.unwrap();
    at_once(6, |_| {
        let store = Arc::clone(&store);
        async move { while store.carry_on(at(2), 5).await.unwrap().is_some() {} }
    })
    .await;
    let done = store.order(&new.id).await.unwrap().unwrap();
    assert_eq!((done.ordered, done.left, done.finished_at), (40, 40, Some(at(2))));
    let lines = store.outbox(1000).await.unwrap();
    let told: Vec<_> = lines.iter().filter_map(|line| line.entry.change()).map(|change| change.lease).collect();
    assert_eq!((told.len(), told.into_iter().collect::<BTreeSet<_>>()), (40, all));
}

async fn an_order_outlives_a_restart<S: Store + 'static>(open: &impl AsyncFn(&str) -> S) {
    let store = open("order-restart").await;
    for _ in 0..6 {
        active(&store, "r", "t", "a").await;
    }
    let new = order_of(&store, of_role("r")).await;
    store.place_order(&new).await.unwrap();
    store.carry_on(at(2), 2).await.unwrap();
    drop(store);
    let store = open("order-restart").await;
    assert_eq!(store.order(&new.id).await.unwrap().unwrap().ordered, 2);
    while store.carry_on(at(3), 2).await.unwrap().is_some() {}
    let done = store.order(&new.id).await.unwrap().unwrap();
    assert_eq!((done.ordered, done.finished_at), (6, Some(at(3))));
}
