//! Groups, bounds, and faults of the writer.

use super::super::super::conformance::{at, at_once, new_lease, orders::order_of, pending, receipt};
use super::super::super::{Claims, Facts, Filter, Inserted, Leases, NewLease, Orders, Outbox, Scope, Turn, Visible};
use super::*;
use crate::domain::lease::State;
use futures_util::future::BoxFuture;

async fn store(dir: &tempfile::TempDir) -> Arc<Sqlite> {
    Arc::new(open(&dir.path().join("store.db")).await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_together_is_committed_together() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    let insert = |_| {
        let store = Arc::clone(&store);
        async move { store.insert(new_lease("r", "t", "a")).await.unwrap() }
    };
    let inserted = at_once(300, insert).await;
    assert!(inserted.iter().all(|i| *i == Inserted::Recorded));
    let written = store.written();
    assert_eq!(written.changes, 300);
    assert!(written.commits <= 100, "{} commits", written.commits);
    assert_eq!(store.count_live(&Filter::default()).await.unwrap(), 300);
}

/// On one thread all that is asked for at once is one group, and all of a kind one statement.
#[tokio::test]
async fn changes_of_one_statement_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    let capped = |who| NewLease { live_max: 3, ..new_lease("r", "t", who) };
    let new: Vec<_> = ["a", "b", "a", "a", "a", "b", "a"].map(capped).into();
    let inserted = futures_util::future::join_all(new.iter().map(|new| store.insert(new.clone()))).await;
    let recorded: Vec<_> = inserted.into_iter().map(|i| i.unwrap() == Inserted::Recorded).collect();
    assert_eq!(recorded, [true, true, true, true, false, true, false]);
    let kept = store.get(new[1].lease.id).await.unwrap().unwrap();
    assert_eq!((kept.lease, kept.plan), (new[1].lease.clone(), new[1].plan.clone()));
    let activated = futures_util::future::join_all(new.iter().map(|new| store.activate(new.lease.id, receipt()))).await;
    let activated: Vec<_> = activated.into_iter().map(Result::unwrap).collect();
    assert_eq!(activated, recorded);
    let kept = store.get(new[3].lease.id).await.unwrap().unwrap();
    assert_eq!((kept.lease.state, kept.receipt), (State::Active, Some(receipt())));
    assert_eq!(store.written().commits, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_change_harms_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    let taken = new_lease("r", "t", "a");
    store.insert(taken.clone()).await.unwrap();
    let insert = |i: usize| {
        let (store, taken) = (Arc::clone(&store), taken.clone());
        let new = if i.is_multiple_of(10) { taken } else { new_lease("r", "t", "a") };
        async move { store.insert(new).await }
    };
    for (i, outcome) in at_once(100, insert).await.into_iter().enumerate() {
        match outcome {
            Ok(Inserted::Recorded) => assert!(!i.is_multiple_of(10)),
            Err(StoreError::Damaged(_)) => assert!(i.is_multiple_of(10)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(store.count_live(&Filter::default()).await.unwrap(), 91);
    assert!(store.activate(taken.lease.id, receipt()).await.unwrap());
}

#[tokio::test]
async fn a_change_is_made_also_when_nobody_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    let new = new_lease("r", "t", "a");
    let id = new.lease.id;
    let insert = store.insert(new);
    // Polled once, which queues it; then dropped.
    assert!(futures_util::FutureExt::now_or_never(insert).is_none());
    store.probe().await.unwrap();
    assert_eq!(store.get(id).await.unwrap().unwrap().lease.state, State::Pending);
}

#[tokio::test]
async fn the_queue_is_bounded_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut limits = Limits::default();
    limits.set("store_waiting_writes_max", 3).unwrap();
    let store = Sqlite::open(&dir.path().join("store.db"), &opener(), &limits, Arc::default()).await.unwrap();
    // On one thread nothing is taken from the queue before all have been put into it.
    let all = futures_util::future::join_all((0..5).map(|_| store.probe())).await;
    assert!(all[..3].iter().all(Result::is_ok));
    for refused in &all[3..] {
        match refused {
            Err(StoreError::Unavailable(why)) => assert!(why.contains("store_waiting_writes_max"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
    store.probe().await.unwrap();
}

#[tokio::test]
async fn a_closed_store_has_made_what_waited_and_takes_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    let waiting = {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.insert(new_lease("r", "t", "a")).await })
    };
    tokio::task::yield_now().await;
    store.close().await;
    assert_eq!(waiting.await.unwrap().unwrap(), Inserted::Recorded);
    assert!(matches!(store.probe().await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.high_water().await, Err(StoreError::Unavailable(_))));
    assert_eq!(reopen(&dir.path().join("store.db")).await.count_live(&Filter::default()).await.unwrap(), 1);
}

/// `max_page_count` belongs to the connection: SQLite meets it as it would a full disk, and the connection that is made anew
/// afterwards finds room again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_leaves_nothing_half_done() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    for _ in 0..200 {
        pending(&*store, "r", "t", "a").await;
    }
    let lines = store.outbox(1000).await.unwrap().len();
    let order = order_of(&*store, Filter::default()).await;
    store.place_order(&order).await.unwrap();
    store.write(Raw("PRAGMA max_page_count = 1")).await.unwrap();
    // The ending of all needs room for its outbox lines, and finds it only for some.
    match store.carry_on(at(1), 1000).await {
        Err(StoreError::Unavailable(why)) => assert!(why.contains("no space"), "{why}"),
        other => panic!("{other:?}"),
    }
    let pending_now = Filter { state: Some(State::Pending), ..Filter::default() };
    assert_eq!(store.count_live(&pending_now).await.unwrap(), 200);
    assert_eq!(store.outbox(1000).await.unwrap().len(), lines);
    assert_eq!(store.order(&order.id).await.unwrap().unwrap().ordered, 0);
    assert_eq!(store.carry_on(at(2), 1000).await.unwrap().unwrap().ended, 200);
    assert_eq!(store.outbox(1000).await.unwrap().len(), lines + 200);
}

#[tokio::test]
async fn a_file_that_vanished_is_an_error_and_never_an_empty_store() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let store = store(&dir).await;
    pending(&*store, "r", "t", "a").await;
    store.write(Raw("PRAGMA max_page_count = 1")).await.unwrap();
    let mut large = new_lease("r", "t", "a");
    large.plan.body = serde_json::Value::String("x".repeat(1_000_000));
    assert!(matches!(store.insert(large.clone()).await, Err(StoreError::Unavailable(_))));
    std::fs::rename(&path, dir.path().join("elsewhere.db")).unwrap();
    assert!(matches!(store.insert(large.clone()).await, Err(StoreError::Unavailable(_))));
    assert!(!path.exists());
    std::fs::rename(dir.path().join("elsewhere.db"), &path).unwrap();
    assert_eq!(store.insert(NewLease { live_max: 2, ..large }).await.unwrap(), Inserted::Recorded);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_delays_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    let bad = pending(&*store, "r", "t", "a").await.id;
    let good = pending(&*store, "r", "t", "a").await.id;
    store.write(Raw("UPDATE leases SET plan = '{\"account\": \"somebody\"' WHERE rowid = 1")).await.unwrap();
    let claimed = store.claim_due("t", Turn::First, Scope::Due, at(1000), at(2000), 10).await.unwrap();
    assert_eq!(claimed.iter().map(|r| r.lease.id).collect::<Vec<_>>(), [good]);
    assert!(matches!(store.get(bad).await, Err(StoreError::Damaged(_))));
    let listed = store.list(&Visible::All, &Filter::default(), None, 10).await.unwrap();
    let seen = listed.iter().find(|l| l.id == bad).unwrap();
    assert_eq!((seen.state, seen.attempts), (State::Revoking, 1));
    assert!(seen.last_error.as_ref().unwrap().contains("plan cannot be read"));
    assert_eq!(store.next_due("t", Turn::Again).await.unwrap(), Some(at(2000)));
}

#[tokio::test]
async fn the_newest_lease_is_known_when_its_row_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    let (a, b) = (pending(&*store, "r", "t", "a").await.id, pending(&*store, "r", "t", "a").await.id);
    store.write(Raw("DELETE FROM leases")).await.unwrap();
    assert_eq!(store.newest_lease().await.unwrap(), Some(a.max(b)));
}

/// SQLite writes nothing when a row is overwritten with what it has, and a probe that writes nothing proves nothing.
#[tokio::test]
async fn a_probe_goes_to_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    let log = || std::fs::metadata(dir.path().join("store.db-wal")).unwrap().len();
    for _ in 0..3 {
        let before = log();
        store.probe().await.unwrap();
        assert!(log() > before);
    }
}

/// A mint that comes while bulk work waits is made after one of it at most.
#[tokio::test]
async fn bulk_work_and_everything_else_take_turns() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    for _ in 0..40 {
        pending(&*store, "r", "t", "a").await;
    }
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = |what: &'static str, work: BoxFuture<'static, ()>| {
        let order = Arc::clone(&order);
        tokio::spawn(async move {
            work.await;
            order.lock().unwrap().push(what);
        })
    };
    // On one thread nothing is made before all of them wait.
    let mut tasks = Vec::new();
    for _ in 0..10 {
        let store = Arc::clone(&store);
        tasks.push(noted(
            "bulk",
            Box::pin(async move {
                store.claim_due("t", Turn::First, Scope::Due, at(1000), at(2000), 1).await.unwrap();
            }),
        ));
    }
    let s = Arc::clone(&store);
    let mint = Box::pin(async move { _ = s.insert(new_lease("r", "t", "b")).await.unwrap() });
    tasks.push(noted("mint", mint));
    for task in tasks {
        task.await.unwrap();
    }
    let order = order.lock().unwrap();
    let place = order.iter().position(|what| *what == "mint").unwrap();
    assert!(place <= 1, "the mint came after {place} of 10: {order:?}");
}
