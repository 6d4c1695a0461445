//! Any sequence of changes, against a model that fits on a page: the same answers, the same rows, nothing lost, no step that
//! [`State::may_become`] does not allow.

use std::sync::atomic::{AtomicU64, Ordering};

use leasehold_sdk::{LeaseId, Timestamp};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use super::super::{Filter, Inserted, NewLease, Outcome, Scope, Settled, Store, Turn};
use super::orders::order_of;
use super::{AtOpen, at, new_lease, receipt};
use crate::domain::lease::{EndedBy, State};

const CASES: u32 = 24;
const STEPS_MAX: usize = 70;

/// One change. A `usize` picks one of the leases recorded so far.
#[derive(Debug, Clone)]
enum Step {
    Insert { role: usize, who: usize, target: usize, cap: u64, replaces: Option<usize> },
    Activate(usize),
    Announce(usize, i64),
    Renew(usize, i64),
    End(usize),
    CloseUnmade(usize),
    Order { role: Option<usize>, target: Option<usize> },
    Claim { target: usize, turn: Turn, limit: usize },
    Settle(usize, usize),
    Wait(i64),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let pick = 0..64_usize;
    let turn = proptest::sample::select(vec![Turn::First, Turn::Again]);
    let insert = (0..2_usize, 0..2_usize, 0..2_usize, 0..6_u64, proptest::option::of(pick.clone()))
        .prop_map(|(role, who, target, cap, replaces)| Step::Insert { role, who, target, cap, replaces });
    let many = (proptest::option::of(0..2_usize), proptest::option::of(0..2_usize))
        .prop_map(|(role, target)| Step::Order { role, target });
    prop_oneof![
        6 => insert,
        5 => pick.clone().prop_map(Step::Activate),
        1 => (pick.clone(), 0..30_000_i64).prop_map(|(i, t)| Step::Announce(i, t)),
        2 => (pick.clone(), 0..30_000_i64).prop_map(|(i, t)| Step::Renew(i, t)),
        2 => pick.clone().prop_map(Step::End),
        1 => pick.clone().prop_map(Step::CloseUnmade),
        1 => many,
        5 => (0..2_usize, turn, 0..5_usize).prop_map(|(target, turn, limit)| Step::Claim { target, turn, limit }),
        5 => (pick, 0..5_usize).prop_map(|(i, o)| Step::Settle(i, o)),
        3 => (1..8000_i64).prop_map(Step::Wait),
        1 => Just(Step::Reopen),
    ]
}

pub(super) async fn run<S: Store + 'static>(open: &impl AsyncFn(&str) -> S, claims: AtOpen) {
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let number = AtomicU64::new(0);
    let case = |steps: Vec<Step>| {
        let name = format!("model-{}", number.fetch_add(1, Ordering::Relaxed));
        block_in_place(|| Handle::current().block_on(play(open, &name, steps, claims)));
        Ok(())
    };
    TestRunner::new(config).run(&proptest::collection::vec(step(), 1..STEPS_MAX), case).unwrap();
}

async fn play<S: Store + 'static>(open: &impl AsyncFn(&str) -> S, name: &str, steps: Vec<Step>, claims: AtOpen) {
    let mut store = open(name).await;
    let mut model = Model::default();
    for step in steps {
        if let Step::Reopen = step {
            drop(store);
            store = open(name).await;
            if claims == AtOpen::Freed {
                model.leases.iter_mut().for_each(|lease| lease.claimed = Timestamp::from_unix_ms(0));
            }
            model.compare(&store).await;
        } else {
            model.take(&store, step).await;
        }
    }
    model.compare(&store).await;
}

#[derive(Debug)]
struct Known {
    id: LeaseId,
    place: (usize, usize, usize),
    replaces: Option<LeaseId>,
    state: State,
    ended_by: Option<EndedBy>,
    expires: Timestamp,
    worst: Timestamp,
    due: Timestamp,
    claimed: Timestamp,
    attempts: u32,
}

impl Known {
    fn become_now(&mut self, next: State) {
        assert!(self.state.may_become(next), "{self:?} -> {next:?}");
        self.state = next;
    }

    fn wake(&self) -> Timestamp {
        self.due.max(self.claimed)
    }

    fn turn(&self) -> Turn {
        if self.attempts == 0 { Turn::First } else { Turn::Again }
    }
}

#[derive(Debug, Default)]
struct Model {
    leases: Vec<Known>,
    lines: Vec<(LeaseId, State)>,
    waited: i64,
}

impl Model {
    fn now(&self) -> Timestamp {
        at(self.waited)
    }

    async fn take(&mut self, store: &dyn Store, step: Step) {
        let now = self.now();
        let picked = |i: usize| if self.leases.is_empty() { None } else { Some(i % self.leases.len()) };
        match step {
            Step::Wait(ms) => self.waited += ms,
            Step::Reopen => {}
            Step::Insert { role, who, target, cap, replaces } => {
                let replaces = replaces.and_then(picked).map(|i| self.leases[i].id);
                self.insert(store, (role, who, target), cap, replaces).await;
            }
            Step::Order { role, target } => self.order(store, role, target).await,
            Step::Claim { target, turn, limit } => self.claim(store, target, turn, limit).await,
            Step::Activate(i)
            | Step::Announce(i, _)
            | Step::Renew(i, _)
            | Step::End(i)
            | Step::CloseUnmade(i)
            | Step::Settle(i, _) => {
                let Some(i) = picked(i) else { return };
                change(&mut self.leases[i], &mut self.lines, store, now, &step).await;
            }
        }
    }

    async fn insert(&mut self, store: &dyn Store, place: (usize, usize, usize), cap: u64, replaces: Option<LeaseId>) {
        let (role, who, target) = place;
        let mut new = new_lease(&format!("r{role}"), &format!("t{target}"), &format!("w{who}"));
        let now = self.now();
        let ms = |ms: u64| now.plus(std::time::Duration::from_millis(ms));
        (new.lease.issued_at, new.mint_deadline, new.lease.expires_at) = (now, ms(1000), ms(10_000));
        new.lease.worst_case_until = Some(new.lease.expires_at);
        let held = |l: &&Known| l.place.0 == role && l.place.1 == who && l.state.is_live();
        let due = self.leases.iter().any(|l| Some(l.id) == replaces && held(&l) && l.state == State::Active);
        let followed = self.leases.iter().any(|l| l.replaces.is_some() && l.replaces == replaces && l.state.is_live());
        let fits = (self.leases.iter().filter(held).count() as u64) < cap || due && !followed;
        let known = Known {
            id: new.lease.id,
            place,
            replaces,
            state: State::Pending,
            ended_by: None,
            expires: new.lease.expires_at,
            worst: new.lease.expires_at,
            due: new.mint_deadline,
            claimed: Timestamp::from_unix_ms(0),
            attempts: 0,
        };
        let expected = if fits { Inserted::Recorded } else { Inserted::CapReached };
        assert_eq!(store.insert(NewLease { live_max: cap, replaces, ..new }).await.unwrap(), expected);
        if fits {
            self.leases.push(known);
        }
    }

    async fn order(&mut self, store: &dyn Store, role: Option<usize>, target: Option<usize>) {
        let now = self.now();
        let filter = Filter {
            role: role.map(|r| format!("r{r}")),
            target: target.map(|t| format!("t{t}")),
            identity: None,
            state: None,
        };
        let mut matched = 0;
        for lease in &mut self.leases {
            let here = role.is_none_or(|r| r == lease.place.0) && target.is_none_or(|t| t == lease.place.2);
            if here && lease.state.is_live() {
                matched += 1;
                end(lease, &mut self.lines, EndedBy::Operator, now);
            }
        }
        assert_eq!(store.count_live(&filter).await.unwrap(), matched);
        assert_eq!(store.place_order(&order_of(store, filter).await).await.unwrap(), matched);
        let mut ended = 0;
        while let Some(step) = store.carry_on(now, 3).await.unwrap() {
            ended += step.ended;
        }
        assert_eq!(ended, matched);
    }

    async fn claim(&mut self, store: &dyn Store, target: usize, turn: Turn, limit: usize) {
        let now = self.now();
        let until = now.plus(std::time::Duration::from_secs(5));
        let name = format!("t{target}");
        let mine = |l: &&Known| l.place.2 == target && l.turn() == turn && l.state.is_live();
        let next = self.leases.iter().filter(mine).map(Known::wake).min();
        assert_eq!(store.next_due(&name, turn).await.unwrap(), next);
        let mut wakes: Vec<_> = self.leases.iter().filter(mine).map(Known::wake).filter(|w| *w <= now).collect();
        wakes.sort();
        wakes.truncate(limit);
        let claimed = store.claim_due(&name, turn, Scope::Due, now, until, limit).await.unwrap();
        // Which of two that fell due together comes first is the store's to choose.
        let mut taken = Vec::new();
        for row in &claimed {
            let lease = self.leases.iter_mut().find(|l| l.id == row.lease.id).unwrap();
            assert!(lease.place.2 == target && lease.turn() == turn);
            taken.push(lease.wake());
            let by = if lease.state == State::Pending { EndedBy::Failed } else { EndedBy::Expiry };
            let due = lease.due;
            end(lease, &mut self.lines, by, due);
            lease.claimed = until;
        }
        taken.sort();
        assert_eq!(taken, wakes);
        assert!(claimed.is_sorted_by_key(|row| row.due_at));
    }

    /// All that the store says is all that the model knows.
    async fn compare(&self, store: &dyn Store) {
        for known in &self.leases {
            let row = store.get(known.id).await.unwrap().unwrap();
            let seen = (row.lease.state, row.lease.ended_by, row.lease.expires_at, row.lease.attempts);
            assert_eq!(seen, (known.state, known.ended_by, known.expires, known.attempts), "{known:?}");
            assert_eq!(row.lease.worst_case_until, Some(known.worst), "{known:?}");
            if known.state.is_live() {
                assert_eq!(row.due_at, known.due, "{known:?}");
            }
        }
        let live = self.leases.iter().filter(|l| l.state.is_live());
        let due = live.clone().filter(|l| l.wake() <= self.now()).count() as u64;
        assert_eq!(store.due_and_live(self.now()).await.unwrap(), (due, live.count() as u64));
        // Lines of one step may come in any order, so they are compared as a set; each lease's own are in its order.
        let mut lines: Vec<_> = store
            .outbox(10_000)
            .await
            .unwrap()
            .into_iter()
            .filter_map(|l| l.entry.change().map(|c| (c.lease, c.state)))
            .collect();
        let mut expected = self.lines.clone();
        lines.sort_by_key(|l| l.0);
        expected.sort_by_key(|l| l.0);
        assert_eq!(lines, expected);
    }
}

fn end(lease: &mut Known, lines: &mut Vec<(LeaseId, State)>, by: EndedBy, due: Timestamp) {
    lease.due = lease.due.min(due);
    if lease.state != State::Revoking {
        lease.become_now(State::Revoking);
        lease.ended_by = Some(by);
        lines.push((lease.id, State::Revoking));
    }
}

/// A change of one lease.
async fn change(lease: &mut Known, lines: &mut Vec<(LeaseId, State)>, store: &dyn Store, now: Timestamp, step: &Step) {
    let id = lease.id;
    match *step {
        Step::Activate(_) => {
            let wins = lease.state == State::Pending;
            assert_eq!(store.activate(id, receipt()).await.unwrap(), wins);
            if wins {
                lease.become_now(State::Active);
                lease.due = lease.expires;
            }
        }
        Step::Announce(_, ms) => {
            let taken = lease.state == State::Active && lease.expires > now;
            assert_eq!(store.announce_renewal(id, now, Some(at(ms))).await.unwrap(), taken);
            lease.worst = if taken { lease.worst.max(at(ms)) } else { lease.worst };
        }
        Step::Renew(_, ms) => {
            let renewed = store.renew(id, at(ms)).await.unwrap();
            assert_eq!(renewed.is_some(), lease.state == State::Active);
            if renewed.is_some() {
                lease.expires = lease.expires.max(at(ms));
                lease.due = lease.expires;
                lease.worst = lease.worst.max(at(ms));
            }
        }
        Step::End(_) => {
            let row = store.end(id, EndedBy::Caller, now).await.unwrap().unwrap();
            if lease.state.is_live() {
                end(lease, lines, EndedBy::Caller, now);
            }
            assert_eq!((row.lease.state, row.lease.ended_by), (lease.state, lease.ended_by));
        }
        Step::CloseUnmade(_) => {
            store.close_unmade(id, now).await.unwrap();
            if lease.state == State::Pending {
                end(lease, lines, EndedBy::Failed, lease.due);
                close(lease, lines, State::Revoked);
            }
        }
        Step::Settle(_, outcome) => settle(lease, lines, store, now, outcome).await,
        _ => unreachable!("not a change of one lease"),
    }
}

async fn settle(
    lease: &mut Known,
    lines: &mut Vec<(LeaseId, State)>,
    store: &dyn Store,
    now: Timestamp,
    outcome: usize,
) {
    let again = now.plus(std::time::Duration::from_millis(700));
    let outcome = match outcome {
        0 => Outcome::Dead,
        1 => Outcome::Expired,
        2 => Outcome::Forgotten,
        3 => Outcome::Told { notice: "told".to_owned(), at: again },
        _ => Outcome::Again { error: "no".to_owned(), at: again },
    };
    store.settle(vec![Settled { id: lease.id, outcome: outcome.clone() }], now).await.unwrap();
    if lease.state.is_live() && outcome == Outcome::Forgotten {
        end(lease, lines, EndedBy::Operator, now);
    }
    if lease.state != State::Revoking {
        return;
    }
    match outcome {
        Outcome::Dead | Outcome::Forgotten => close(lease, lines, State::Revoked),
        Outcome::Expired => close(lease, lines, State::Expired),
        Outcome::Again { .. } | Outcome::Told { .. } => {
            lease.attempts = if matches!(outcome, Outcome::Again { .. }) { lease.attempts + 1 } else { 0 };
            (lease.due, lease.claimed) = (again, Timestamp::from_unix_ms(0));
        }
    }
}

fn close(lease: &mut Known, lines: &mut Vec<(LeaseId, State)>, state: State) {
    lease.become_now(state);
    lines.push((lease.id, state));
}
