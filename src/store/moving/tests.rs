//! Files that are not whole, and stores that are not empty.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use leasehold_sdk::clock;
use proptest::prelude::*;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

use super::super::sqlite::{self, Sqlite};
use super::super::{Block, Blocks, Opener, Outbox, OutboxEntry, OutboxLine};
use super::*;
use crate::limits::Limits;

fn opener() -> Opener {
    Opener { cluster: "test".parse().unwrap(), broker: "b1".to_owned() }
}

async fn open(path: &Path) -> Result<Sqlite, StoreError> {
    Sqlite::open(path, &opener(), &Limits::default(), Arc::default()).await
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(ms)
}

fn line() -> OutboxLine {
    OutboxLine { number: 0, at: at(1), entry: OutboxEntry::Event(Row::from_iter([("event".into(), "x".into())])) }
}

async fn filled(file: &str, path: &Path) -> Result<Moved, MoveError> {
    let sink = sqlite::moving::fill(path).await?;
    import(&mut file.as_bytes(), "test", sink, |_| line()).await
}

/// The store, once whoever had it open has let go: a process that another test just forked may hold it for a moment.
async fn taken(path: &Path) -> Box<dyn Source> {
    let deadline = clock::boot() + Duration::from_secs(20);
    loop {
        match sqlite::moving::take(path, &opener().cluster, at(5)).await {
            Err(StoreError::NotOurs(_)) if clock::boot() < deadline => {
                tokio::time::sleep(Duration::from_millis(2)).await
            }
            taken => return taken.unwrap(),
        }
    }
}

/// A small store with something in it, exported.
async fn exported(dir: &Path) -> String {
    let path = dir.join("old.db");
    let store = open(&path).await.unwrap();
    for n in 0..3 {
        let identity = format!("spiffe://dev.local/{n}").parse().unwrap();
        let block = Block { identity, at: at(n), by_whom: "me \"\\ \u{1f980}".to_owned(), reason: None };
        store.block(&block).await.unwrap();
    }
    store.close().await;
    drop(store);
    let mut source = taken(&path).await;
    let mut out = Vec::new();
    let moved = export(&mut *source, at(6), &mut out).await.unwrap();
    assert_eq!((moved.rows, moved.leases), (4, 0));
    String::from_utf8(out).unwrap()
}

#[tokio::test]
async fn what_was_moved_away_is_out_of_use_until_it_is_reopened() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old.db"), dir.path().join("new.db"));
    let file = exported(dir.path()).await;
    let refusal = open(&old).await.err().unwrap().to_string();
    assert!(refusal.contains("was moved to another store at 1970-01-01T00:00:00.005Z"), "{refusal}");

    filled(&file, &new).await.unwrap();
    let store = open(&new).await.unwrap();
    assert_eq!(store.blocks().await.unwrap().len(), 3);
    assert_eq!(store.outbox(9).await.unwrap().len(), 1, "the line that tells of it");
    let held = filled(&file, &new).await.unwrap_err().to_string();
    assert!(held.contains("another broker has"), "{held}");
    store.close().await;
    drop(store);
    let full = filled(&file, &new).await.unwrap_err().to_string();
    assert!(full.contains("there is a store in it already"), "{full}");

    // Exporting again is allowed, and so is taking all of it back.
    assert!(sqlite::moving::take(&old, &"other".parse().unwrap(), at(7)).await.is_err());
    drop(taken(&old).await);
    sqlite::moving::reopen(&old, &opener().cluster).await.unwrap();
    assert_eq!(open(&old).await.unwrap().blocks().await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_file_that_is_not_whole_fills_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = exported(dir.path()).await;
    let new = dir.path().join("new.db");
    let lines: Vec<&str> = file.split_inclusive('\n').collect();
    let without = |n: usize| lines.iter().enumerate().filter(|(i, _)| *i != n).map(|(_, l)| *l).collect::<String>();
    for (damaged, why) in [
        (without(2), "was changed after it was written"),
        (without(lines.len() - 1), "was cut off here"),
        (file[..file.len() - 1].to_owned(), "was cut off here"),
        (file.replace("\"cluster\":\"test\"", "\"cluster\":\"tesu\""), "is of cluster \"tesu\""),
        (file.replace("\"table\":\"blocks\"", "\"table\":\"blokks\""), "there is no table \"blokks\""),
        (file.replace("\"reason\":null", "\"reason\":7"), "its reason is missing or not what the table blocks holds"),
        (file.replace("\"leasehold_store\":1", "\"leasehold_store\":2"), "its form is 2"),
        (file.replace("\"schema_version\":1", "\"schema_version\":9"), "version 9"),
        (String::new(), "was cut off here"),
    ] {
        let said = filled(&damaged, &new).await.unwrap_err().to_string();
        assert!(said.contains(why), "{why}: {said}");
    }
    filled(&file, &new).await.expect("the store is still empty");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn any_change_of_a_file_is_found(place in any::<prop::sample::Index>(), byte in 0x20..0x7f_u8) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let mut file = exported(dir.path()).await.into_bytes();
            let place = place.index(file.len());
            prop_assume!(file[place] != byte);
            file[place] = byte;
            let damaged = String::from_utf8_lossy(&file).into_owned();
            prop_assert!(filled(&damaged, &dir.path().join("new.db")).await.is_err(), "{}", damaged);
            Ok(())
        })?;
    }
}

/// A column that a later step of the schema adds must move too, or be named here.
#[tokio::test]
async fn nothing_is_forgotten() {
    const STAY: &[(&str, &[&str])] = &[
        ("store", &["schema_version", "moved_away_at"]),
        ("leases", &["claimed_until", "claimed_by", "tried", "wake_at"]),
        ("holders", &["role", "identity"]),
    ];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    drop(open(&path).await.unwrap());
    let columns = "SELECT m.name || '.' || c.name FROM sqlite_schema m, pragma_table_xinfo(m.name) c \
                   WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND m.name NOT LIKE '_sqlx%' ORDER BY 1";
    let mut db = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    let mut there: Vec<String> = sqlx::query_scalar(columns).fetch_all(&mut db).await.unwrap();
    let list =
        |columns: &mut dyn Iterator<Item = (&str, &str)>| columns.map(|(t, c)| format!("{t}.{c}")).collect::<Vec<_>>();
    let mut moves = list(&mut TABLES.iter().flat_map(|t| t.columns.iter().map(|(c, _)| (t.name, *c))));
    moves.extend(list(&mut STAY.iter().flat_map(|(t, columns)| columns.iter().map(|c| (*t, *c)))));
    moves.sort();
    there.sort();
    assert_eq!(there, moves);
}
