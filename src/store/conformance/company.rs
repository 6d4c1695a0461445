//! Who may not, and who works here.

use std::time::Duration;

use super::super::{Block, Inserted, Presence, Store};
use super::{active, at, identity, new_lease, pending, receipt};

pub(super) async fn run<S: Store + 'static>(open: &impl AsyncFn(&str) -> S) {
    a_blocked_identity_gets_nothing_more(&open("blocked").await).await;
    a_broker_is_seen_and_a_later_process_has_its_place(&open("seen").await).await;
}

async fn a_blocked_identity_gets_nothing_more(store: &dyn Store) {
    let (held, under_way) = (active(store, "r", "t", "a").await, pending(store, "r", "t", "a").await);
    let block = Block { identity: identity("a"), at: at(1), by_whom: "me".to_owned(), reason: Some("x".to_owned()) };
    assert!(store.block(&block).await.unwrap());
    assert!(!store.block(&Block { at: at(2), ..block.clone() }).await.unwrap(), "the first block stays as it is");
    assert_eq!(store.blocks().await.unwrap(), std::slice::from_ref(&block));

    assert_eq!(store.insert(new_lease("r", "t", "a")).await.unwrap(), Inserted::Blocked);
    assert!(!store.activate(under_way.id, receipt()).await.unwrap(), "nothing is handed out");
    assert!(!store.announce_renewal(held.id, at(2), Some(at(20_000))).await.unwrap());
    assert_eq!(store.insert(new_lease("r", "t", "b")).await.unwrap(), Inserted::Recorded, "it is nobody else's block");

    assert!(store.unblock(&block.identity).await.unwrap());
    assert!(!store.unblock(&block.identity).await.unwrap());
    assert_eq!(store.insert(new_lease("r", "t", "a")).await.unwrap(), Inserted::Recorded);
    assert!(store.activate(under_way.id, receipt()).await.unwrap());
}

async fn a_broker_is_seen_and_a_later_process_has_its_place(store: &dyn Store) {
    let first = Presence {
        id: "b1".to_owned(),
        instance: "i1".to_owned(),
        host: "h".to_owned(),
        version: "0".to_owned(),
        config_hash: "c".to_owned(),
        chain: "k".to_owned(),
        started_at: at(1),
    };
    assert!(store.beat(&first).await.unwrap());
    assert!(store.beat(&first).await.unwrap());
    let known = store.brokers().await.unwrap().remove(0);
    assert_eq!((known.presence, known.claimed), (first.clone(), 0));
    assert!(known.seen_at.since(store.clock().await.unwrap()) == Duration::ZERO, "by the store's own clock");

    let second = Presence { instance: "i2".to_owned(), started_at: at(2), ..first.clone() };
    assert!(store.beat(&second).await.unwrap());
    assert!(!store.beat(&first).await.unwrap(), "a later process has the place");
    assert_eq!(store.brokers().await.unwrap().len(), 1);
    store.leave().await.unwrap();
    assert!(store.brokers().await.unwrap()[0].seen_at < at(-1_000_000_000), "it said that it goes");
}
