//! What every store must do, as one suite: a new store passes it before anything else is said about it.

mod company;
mod lists;
mod lives;
mod model;
pub mod orders;
mod races;
mod rooms;
mod sealed;
mod token_status;

use std::sync::Arc;

use leasehold_sdk::{AccountName, Fingerprint, LeaseId, Plan, Receipt, Revocable, StoreTag, Timestamp};
use serde_json::json;

use super::{Inserted, NewLease, Store};
use crate::domain::lease::{Lease, State};

/// Runs all cases. `open` opens the store of that name, makes it when there is none, and may be called for one again once
/// the store it answered before is dropped: then it waits until that one has let go.
pub async fn run<S: Store + 'static>(open: impl AsyncFn(&str) -> S, claims: AtOpen) {
    lives::run(&open).await;
    lists::run(&open).await;
    company::run(&open).await;
    orders::run(&open).await;
    races::run(&open).await;
    sealed::run(&open).await;
    rooms::run(&open).await;
    token_status::run(&open).await;
    model::run(&open, claims).await;
}

/// What opening a store does to the claims in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtOpen {
    /// It serves one broker at a time: claims are a dead broker's, and freed.
    Freed,
    /// It serves many: a claim is its broker's, and stays.
    Kept,
}

/// A moment of the suite's own time, in milliseconds after its start.
pub fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(1_900_000_000_000 + ms)
}

/// A lease to insert: of `role` in `target` for the identity whose path is `/who`, issued at 0, mint deadline 1000,
/// expiry 10 000, at most 100 000.
pub fn new_lease(role: &str, target: &str, who: &str) -> NewLease {
    let id = LeaseId::new();
    let account = AccountName::new("test".parse().unwrap(), "abcd".parse::<StoreTag>().unwrap(), id);
    let plan = Plan {
        account: account.clone(),
        fingerprint: Fingerprint("system 1 of 'test'".to_owned()),
        revocable: Revocable::Immediate,
        expires_in_target: true,
        renewable: true,
        ends_by: None,
        room: None,
        slack: std::time::Duration::ZERO,
        params: [("tenant".to_owned(), "42".to_owned())].into(),
        body: json!({ "sql": ["CREATE ROLE \"ü\u{1f600}\""], "n": 18_446_744_073_709_551_615_u64 }),
    };
    let lease = Lease {
        id,
        role: role.to_owned(),
        target: target.to_owned(),
        identity: identity(who),
        state: State::Pending,
        ended_by: None,
        issued_at: at(0),
        expires_at: at(10_000),
        max_expires_at: at(100_000),
        rotate_at: at(90_000),
        renewable: true,
        revocable: Revocable::Immediate,
        worst_case_until: Some(at(10_000)),
        account,
        attempts: 0,
        last_error: None,
    };
    NewLease { lease, plan, mint_deadline: at(1000), live_max: 1000, replaces: None }
}

/// The identity whose path is `/who`.
pub fn identity(who: &str) -> leasehold_identity::SpiffeId {
    format!("spiffe://test.example/{who}").parse().unwrap()
}

/// Something that a target said.
pub fn receipt() -> Receipt {
    Receipt(json!({ "oid": 16_384 }))
}

/// Inserts such a lease and answers it.
pub async fn pending(store: &dyn Store, role: &str, target: &str, who: &str) -> Lease {
    let new = new_lease(role, target, who);
    let lease = new.lease.clone();
    assert_eq!(store.insert(new).await.unwrap(), Inserted::Recorded);
    lease
}

/// Inserts and activates such a lease and answers it as it was inserted.
pub async fn active(store: &dyn Store, role: &str, target: &str, who: &str) -> Lease {
    let lease = pending(store, role, target, who).await;
    assert!(store.activate(lease.id, receipt()).await.unwrap());
    lease
}

/// Runs `n` of `work` at once and answers what they answered.
pub async fn at_once<T, F>(n: usize, work: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let tasks: Vec<_> = (0..n).map(|i| tokio::spawn(work(i))).collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    answers
}

/// Opens the store `name` behind a pointer, for cases that share it.
pub async fn shared<S: Store + 'static>(open: &impl AsyncFn(&str) -> S, name: &str) -> Arc<dyn Store> {
    Arc::new(open(name).await)
}
