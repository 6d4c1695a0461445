//! Sealed secrets.

use super::super::{SealedRow, SealedState, Store};
use super::at;
use crate::seal::{KeyId, Sealed};

pub(super) async fn run<S: Store + 'static>(open: &impl AsyncFn(&str) -> S) {
    a_generation_is_written_once_and_one_is_current(&open("sealed").await).await;
    what_was_resealed_meanwhile_is_left_alone(&open("resealed").await).await;
}

fn row(name: &str, generation: u64, blob: &str) -> SealedRow {
    SealedRow {
        kind: "admin_password".to_owned(),
        name: name.to_owned(),
        generation,
        state: SealedState::Next,
        sealed: Sealed { key_id: KeyId::kept("k1".to_owned()), blob: blob.to_owned() },
        made_at: at(1),
    }
}

async fn a_generation_is_written_once_and_one_is_current(store: &dyn Store) {
    assert!(store.put_sealed(&row("orders", 1, "a")).await.unwrap());
    assert!(!store.put_sealed(&row("orders", 1, "b")).await.unwrap(), "somebody else was first");
    assert!(store.put_sealed(&row("billing", 1, "c")).await.unwrap());
    assert!(!store.promote_sealed("admin_password", "orders", 2, 2).await.unwrap());
    for generation in 2..=5 {
        store.put_sealed(&row("orders", generation, "x")).await.unwrap();
        assert!(store.promote_sealed("admin_password", "orders", generation, 2).await.unwrap());
    }
    let states: Vec<_> =
        store.sealed().await.unwrap().iter().map(|r| (r.name.clone(), r.generation, r.state)).collect();
    let of = |name: &str, generation, state| (name.to_owned(), generation, state);
    assert_eq!(
        states,
        [
            of("billing", 1, SealedState::Next),
            of("orders", 3, SealedState::Previous),
            of("orders", 4, SealedState::Previous),
            of("orders", 5, SealedState::Current),
        ]
    );
    assert!(store.remove_sealed("admin_password", "billing", 1).await.unwrap());
    assert!(!store.remove_sealed("admin_password", "billing", 1).await.unwrap(), "it is gone");
    assert!(store.put_sealed(&row("billing", 1, "c")).await.unwrap());
    // It may turn out that an older one is in force.
    assert!(store.promote_sealed("admin_password", "orders", 4, 2).await.unwrap());
    assert_eq!(store.sealed().await.unwrap()[3].state, SealedState::Previous);
}

async fn what_was_resealed_meanwhile_is_left_alone(store: &dyn Store) {
    let first = row("orders", 1, "a");
    store.put_sealed(&first).await.unwrap();
    let fresh = Sealed { key_id: KeyId::kept("k2".to_owned()), blob: "b".to_owned() };
    assert!(store.reseal(&first, &fresh).await.unwrap());
    assert!(!store.reseal(&first, &fresh).await.unwrap());
    let kept = store.sealed().await.unwrap().remove(0);
    assert_eq!((kept.sealed, kept.state, kept.made_at), (fresh, SealedState::Next, at(1)));
}
