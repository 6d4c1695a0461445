//! From a file into a database and back: nothing is lost, nothing is changed.

use std::path::Path;

use leasehold_sdk::{StatusSlot, Timestamp, Withdrawal};
use serde_json::{Value, json};

use super::super::super::conformance::{active, at, identity, pending};
use super::super::super::moving::{self, MoveError, Moved, Source};
use super::super::super::sqlite::{self, Sqlite};
use super::super::super::{
    AuditHead, Block, Brokers, Facts, Filter, NewOrder, Outbox, OutboxEntry, OutboxLine, Presence, SealedRow,
    SealedState, Store,
};
use super::super::moving as pg;
use super::*;
use crate::domain::lease::EndedBy;
use crate::seal::{self, KeyId};

each_version! { a_store_moves_there_and_back }

async fn a_store_moves_there_and_back(postgres: Installation) {
    let ground = Ground::start(postgres).await;
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old.db"), dir.path().join("new.db"));
    let (cluster, limits) = ("test".parse().unwrap(), Limits::default());
    let opener = Opener { cluster, broker: "b1".to_owned() };
    let store = Sqlite::open(&old, &opener, &limits, std::sync::Arc::default()).await.unwrap();
    fill(&store).await;
    let (tag, last) = (store.tag().clone(), store.outbox(100).await.unwrap().last().unwrap().number);
    store.close().await;
    drop(store);

    let first = export(&mut *sqlite::moving::take(&old, &opener.cluster, at(9)).await.unwrap()).await;
    ground.make("s").await;
    let moved = import(&first, pg::fill(&ground.link("s")).await.unwrap()).await.unwrap();
    assert_eq!((moved.leases, moved.tag.as_str()), (4, tag.as_str()));
    let there = Postgres::open(ground.link("s"), &opener, &limits, Default::default()).await.unwrap();
    assert_eq!((there.tag(), there.high_water().await.unwrap()), (&tag, at(77)));
    let lines = there.outbox(100).await.unwrap();
    assert!(lines.last().unwrap().number > last, "the numbers go on");
    assert!(lines.iter().any(|line| line.entry == told(&moved).entry), "{lines:?}");
    assert!(there.beat(&presence()).await.unwrap());
    let busy = pg::take(&ground.link("s"), &opener.cluster, at(10), Duration::from_secs(8)).await;
    assert!(busy.err().unwrap().to_string().contains("brokers are at work on it: b1"));
    there.leave().await.unwrap();

    let mut source = pg::take(&ground.link("s"), &opener.cluster, at(10), Duration::from_secs(8)).await.unwrap();
    let second = export(&mut *source).await;
    assert!(there.standing().await.unwrap().check().is_err(), "a broker that still runs sees it");
    assert!(Postgres::open(ground.link("s"), &opener, &limits, Default::default()).await.is_err());
    let full = pg::fill(&ground.link("s")).await.err().unwrap().to_string();
    assert!(full.contains("there is a store in it already"), "{full}");
    import(&second, sqlite::moving::fill(&new).await.unwrap()).await.unwrap();
    let third = export(&mut *sqlite::moving::take(&new, &opener.cluster, at(11)).await.unwrap()).await;
    for table in
        ["store", "audit_heads", "holds", "blocks", "sealed", "token_lists", "token_withdrawals", "orders", "leases"]
    {
        let rows = rows_of(&first, table);
        assert!(!rows.is_empty(), "{table}");
        assert_eq!(rows, rows_of(&second, table));
        assert_eq!(rows, rows_of(&third, table));
    }
    pg::reopen(&ground.link("s"), &opener.cluster).await.unwrap();
    Postgres::open(ground.link("s"), &opener, &limits, Default::default()).await.unwrap();
    only_whole(&first, &ground, dir.path()).await;
}

/// A file that is cut off leaves the database empty.
async fn only_whole(file: &str, ground: &Ground, dir: &Path) {
    ground.make("t").await;
    let cut = &file[..file.len() / 2];
    assert!(import(cut, pg::fill(&ground.link("t")).await.unwrap()).await.is_err());
    import(file, pg::fill(&ground.link("t")).await.unwrap()).await.expect("it is still empty");
    assert!(dir.exists());
}

async fn fill(store: &impl Store) {
    assert!(store.beat(&presence()).await.unwrap());
    for who in ["a", "b", "ü\u{1f600}"] {
        let lease = active(store, "r", "t", "a").await;
        store.end(lease.id, EndedBy::Operator, at(5)).await.unwrap();
        let block =
            Block { identity: identity("x"), at: at(1), by_whom: who.to_owned(), reason: Some("\"\\\n".into()) };
        store.block(&block).await.unwrap();
    }
    pending(store, "r", "t", "a").await;
    store.hold("t", None).await.unwrap();
    store.raise_high_water(at(77)).await.unwrap();
    store.keep_audit_head("chain", &AuditHead { seq: 3, hash: "ab".to_owned() }).await.unwrap();
    let sealed = seal::Sealed { key_id: KeyId::kept("k1".to_owned()), blob: "blob".to_owned() };
    let (kind, name) = ("admin_password".to_owned(), "t".to_owned());
    let row = SealedRow { kind, name, generation: 1, state: SealedState::Current, sealed, made_at: at(1) };
    assert!(store.put_sealed(&row).await.unwrap());
    store.begin_token_list("l", at(2)).await.unwrap();
    let slot = StatusSlot { list: "l".to_owned(), index: 7 };
    store.withdraw_tokens(&[Withdrawal { slot, until: at(9) }]).await.unwrap();
    let filter = Filter { role: Some("r".to_owned()), ..Filter::default() };
    let up_to = store.newest_lease().await.unwrap().unwrap();
    let order = NewOrder { id: "o1".to_owned(), at: at(6), by: EndedBy::Operator, filter, up_to };
    store.place_order(&order).await.unwrap();
}

fn presence() -> Presence {
    let text = |text: &str| text.to_owned();
    Presence {
        id: text("b1"),
        instance: text("i"),
        host: text("h"),
        version: text("0"),
        config_hash: text("c"),
        chain: text("chain"),
        started_at: at(0),
    }
}

async fn export(source: &mut dyn Source) -> String {
    let mut out = Vec::new();
    moving::export(source, Timestamp::from_unix_ms(0), &mut out).await.unwrap();
    String::from_utf8(out).unwrap()
}

async fn import(file: &str, sink: Box<dyn moving::Sink>) -> Result<Moved, MoveError> {
    moving::import(&mut file.as_bytes(), "test", sink, told).await
}

fn told(moved: &Moved) -> OutboxLine {
    let event = json!({"event": "broker", "what": "store_imported", "note": moved.leases.to_string()});
    OutboxLine { number: 0, at: at(8), entry: OutboxEntry::Event(event.as_object().unwrap().clone()) }
}

fn rows_of(file: &str, table: &str) -> Vec<Value> {
    let lines = file.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["table"] == table).map(|line| line["row"].clone()).collect()
}
