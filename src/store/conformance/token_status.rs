//! Status lists of tokens.

use std::time::Duration;

use leasehold_sdk::{StatusSlot, Timestamp, Withdrawal};

use super::super::Store;
use super::at;

pub(super) async fn run<S: Store + 'static>(open: &impl AsyncFn(&str) -> S) {
    what_has_ended_is_told_until_it_would_have_anyway(&open("token_status").await).await;
}

fn ended(list: &str, index: u32, until: i64) -> Withdrawal {
    Withdrawal { slot: StatusSlot { list: list.to_owned(), index }, until: at(until) }
}

async fn what_has_ended_is_told_until_it_would_have_anyway(store: &dyn Store) {
    store.begin_token_list("a", at(1)).await.unwrap();
    store.begin_token_list("b", at(5)).await.unwrap();
    assert!(store.begin_token_list("a", at(9)).await.is_err(), "two lists of one name would share their places");
    store.withdraw_tokens(&[ended("a", 7, 100), ended("b", 7, 200)]).await.unwrap();
    let told = store.clock().await.unwrap();
    while store.clock().await.unwrap() <= told.plus(Duration::from_millis(1)) {}
    let later = store.clock().await.unwrap();
    store.withdraw_tokens(&[ended("a", 7, 999), ended("a", 8, 300)]).await.unwrap();
    let since = async |at| {
        let mut all = store.withdrawn_tokens(at).await.unwrap();
        all.sort_by_key(|one| (one.slot.list.clone(), one.slot.index));
        all
    };
    let never = Timestamp::from_unix_ms(0);
    assert_eq!(
        since(never).await,
        [ended("a", 7, 100), ended("a", 8, 300), ended("b", 7, 200)],
        "the first word stays"
    );
    assert_eq!(since(later).await, [ended("a", 8, 300)]);
    assert_eq!(store.purge_token_status(at(250), at(5), 1).await.unwrap(), 1, "in small steps");
    assert_eq!(since(never).await, [ended("a", 8, 300), ended("b", 7, 200)]);
    assert_eq!(store.purge_token_status(at(250), at(5), 9).await.unwrap(), 1);
    assert_eq!(since(never).await, [ended("a", 8, 300)]);
    assert_eq!(store.token_lists().await.unwrap(), ["b"]);
}
