//! Ends that are told in a room.

use leasehold_sdk::{AccountName, LeaseId};

use super::super::{RoomPlace, Store};
use super::at;

pub(super) async fn run<S: Store + 'static>(open: &impl AsyncFn(&str) -> S) {
    let store = open("rooms").await;
    a_place_stands_until_it_is_given_back(&store).await;
    a_cut_never_moves_back(&store).await;
}

fn place(store: &dyn Store, room: &str, made: i64) -> RoomPlace {
    let lease = LeaseId::at(at(made));
    RoomPlace {
        lease,
        room: room.to_owned(),
        identity: "spiffe://a.example/'me'".to_owned(),
        account: AccountName::new("test".parse().unwrap(), store.tag().clone(), lease),
        of_share: made % 2 == 0,
        until: at(made + 1_000),
        cut: None,
    }
}

async fn a_place_stands_until_it_is_given_back(store: &dyn Store) {
    let (a, b, elsewhere) = (place(store, "r", 1), place(store, "r", 2), place(store, "other", 3));
    store.take_places(&[a.clone(), b.clone(), elsewhere.clone()]).await.unwrap();
    let stands = async |room: &str| {
        let mut all = store.places(room).await.unwrap();
        all.sort_by_key(|place| place.lease);
        all
    };
    assert_eq!(stands("r").await, [a.clone(), b.clone()]);
    let of_a_cut = RoomPlace { cut: Some(at(9)), until: at(77), of_share: true, ..a.clone() };
    store.take_places(std::slice::from_ref(&of_a_cut)).await.unwrap();
    store.take_places(std::slice::from_ref(&a)).await.unwrap();
    assert_eq!(stands("r").await, [RoomPlace { cut: Some(at(9)), ..a.clone() }, b.clone()], "only the cut is news");
    store.leave_places(&[a.lease, a.lease]).await.unwrap();
    store.leave_places(&[]).await.unwrap();
    assert_eq!((stands("r").await, stands("other").await), (vec![b], vec![elsewhere]));
}

async fn a_cut_never_moves_back(store: &dyn Store) {
    assert_eq!(store.room_cut("r").await.unwrap(), None);
    store.cut_room("r", at(50)).await.unwrap();
    store.cut_room("r", at(40)).await.unwrap();
    store.cut_room("other", at(10)).await.unwrap();
    assert_eq!(store.room_cut("r").await.unwrap(), Some(at(50)));
}
