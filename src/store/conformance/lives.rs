//! One lease from its record to its end, facts, and what a reopened store still knows.

use leasehold_sdk::LeaseId;

use super::super::{AuditHead, Inserted, LeaseChange, OutboxLine, Outcome, Scope, Settled, Store, StoreError, Turn};
use super::{active, at, identity, new_lease, pending, receipt};
use crate::domain::lease::{EndedBy, State};

pub(super) async fn run<S: Store + 'static>(open: &impl AsyncFn(&str) -> S) {
    a_row_reads_back_whole(&open("whole").await).await;
    a_lease_lives_renews_and_ends(&open("life").await).await;
    a_try_that_fails_comes_again(&open("again").await).await;
    what_waits_for_a_later_try_is_woken(&open("woken").await).await;
    while_expiry_is_held_only_what_was_asked_for_is_claimed(&open("held").await).await;
    the_first_to_die_is_an_active_one(&open("first").await).await;
    a_late_mint_is_claimed_as_failed(&open("late").await).await;
    what_was_never_made_is_closed_at_once(&open("unmade").await).await;
    an_adopted_account_is_an_active_lease(&open("adopted").await).await;
    every_outcome_closes_as_it_says(&open("outcomes").await).await;
    what_is_forgotten_passes_through_its_end(&open("forgotten").await).await;
    what_ended_long_ago_is_purged_and_the_mark_stays(&open("purged").await).await;
    marks_never_go_back(&open("marks").await).await;
    what_was_answered_is_there_after_reopening(open).await;
}

async fn a_row_reads_back_whole(store: &dyn Store) {
    let new = new_lease("r", "t", "a");
    store.insert(new.clone()).await.unwrap();
    let row = store.get(new.lease.id).await.unwrap().unwrap();
    assert_eq!((row.lease, row.plan, row.receipt), (new.lease.clone(), new.plan, None));
    assert_eq!((row.mint_deadline, row.due_at), (at(1000), at(1000)));
    assert!(store.get(LeaseId::new()).await.unwrap().is_none());

    let mut unbounded = new_lease("r", "t", "a");
    unbounded.lease.worst_case_until = None;
    unbounded.lease.renewable = false;
    store.insert(unbounded.clone()).await.unwrap();
    assert_eq!(store.get(unbounded.lease.id).await.unwrap().unwrap().lease, unbounded.lease);
    store.activate(unbounded.lease.id, receipt()).await.unwrap();
    // Unbounded stays unbounded, whatever is announced.
    assert!(store.announce_renewal(unbounded.lease.id, at(1), Some(at(20_000))).await.unwrap());
    let renewed = store.renew(unbounded.lease.id, at(20_000)).await.unwrap().unwrap();
    assert_eq!(renewed.worst_case_until, None);
}

async fn a_lease_lives_renews_and_ends(store: &dyn Store) {
    let lease = pending(store, "r", "t", "a").await;
    assert!(!store.announce_renewal(lease.id, at(1), None).await.unwrap());
    assert!(store.activate(lease.id, receipt()).await.unwrap());
    assert!(!store.activate(lease.id, receipt()).await.unwrap());
    let row = store.get(lease.id).await.unwrap().unwrap();
    assert_eq!((row.lease.state, row.receipt, row.due_at), (State::Active, Some(receipt()), at(10_000)));

    assert!(store.announce_renewal(lease.id, at(9999), Some(at(20_000))).await.unwrap());
    let row = store.get(lease.id).await.unwrap().unwrap();
    assert_eq!((row.lease.worst_case_until, row.lease.expires_at), (Some(at(20_000)), at(10_000)));
    let renewed = store.renew(lease.id, at(20_000)).await.unwrap().unwrap();
    assert_eq!((renewed.expires_at, renewed.worst_case_until), (at(20_000), Some(at(20_000))));
    // Never earlier than before.
    assert_eq!(store.renew(lease.id, at(15_000)).await.unwrap().unwrap().expires_at, at(20_000));
    assert_eq!(store.next_due("t", Turn::First).await.unwrap(), Some(at(20_000)));
    assert!(!store.announce_renewal(lease.id, at(20_000), None).await.unwrap());
    assert!(store.outbox(10).await.unwrap().is_empty());

    let row = store.end(lease.id, EndedBy::Caller, at(12_000)).await.unwrap().unwrap();
    assert_eq!((row.lease.state, row.lease.ended_by, row.due_at), (State::Revoking, Some(EndedBy::Caller), at(12_000)));
    assert_eq!(row.receipt, Some(receipt()));
    // The first reason stays; the line is written once.
    store.end(lease.id, EndedBy::Operator, at(12_001)).await.unwrap();
    assert!(store.renew(lease.id, at(90_000)).await.unwrap().is_none());
    let lines = store.outbox(10).await.unwrap();
    assert_eq!(lines.len(), 1);
    assert_eq!((lines[0].at, change_of(&lines[0]).state), (at(12_000), State::Revoking));
    assert_eq!(change_of(&lines[0]).ended_by, Some(EndedBy::Caller));
    assert_eq!((change_of(&lines[0]).lease, &change_of(&lines[0]).identity), (lease.id, &identity("a")));

    let claimed = store.claim_due("t", Turn::First, Scope::Due, at(12_000), at(13_000), 10).await.unwrap();
    assert_eq!(claimed.iter().map(|r| r.lease.id).collect::<Vec<_>>(), [lease.id]);
    store.settle(vec![Settled { id: lease.id, outcome: Outcome::Dead }], at(12_500)).await.unwrap();
    assert_eq!(store.end(lease.id, EndedBy::Operator, at(13_000)).await.unwrap().unwrap().lease.state, State::Revoked);
    assert!(store.next_due("t", Turn::First).await.unwrap().is_none());
    assert!(store.end(LeaseId::new(), EndedBy::Caller, at(1)).await.unwrap().is_none());
    assert_eq!(store.outbox(10).await.unwrap().len(), 2);
}

async fn a_try_that_fails_comes_again(store: &dyn Store) {
    let lease = active(store, "r", "t", "a").await;
    assert!(store.claim_due("t", Turn::First, Scope::Due, at(9999), at(20_000), 10).await.unwrap().is_empty());
    let row = store.claim_due("t", Turn::First, Scope::Due, at(10_000), at(20_000), 10).await.unwrap().remove(0);
    assert_eq!((row.lease.state, row.lease.ended_by), (State::Revoking, Some(EndedBy::Expiry)));
    // While claimed it is nobody else's, and it is looked at again when the claim lapses.
    assert!(store.claim_due("t", Turn::First, Scope::Due, at(19_999), at(30_000), 10).await.unwrap().is_empty());
    assert_eq!(store.next_due("t", Turn::First).await.unwrap(), Some(at(20_000)));
    assert_eq!(store.due_and_live(at(15_000)).await.unwrap(), (0, 1));

    let again = Outcome::Again { error: "no route to 'host'".to_owned(), at: at(16_000) };
    store.settle(vec![Settled { id: lease.id, outcome: again }], at(15_000)).await.unwrap();
    let row = store.get(lease.id).await.unwrap().unwrap();
    assert_eq!((row.lease.attempts, row.lease.last_error.as_deref()), (1, Some("no route to 'host'")));
    assert_eq!((row.due_at, store.next_due("t", Turn::Again).await.unwrap()), (at(16_000), Some(at(16_000))));
    assert!(store.claim_due("t", Turn::Again, Scope::Due, at(15_999), at(30_000), 10).await.unwrap().is_empty());

    // The two turns are apart, at any time.
    assert!(store.claim_due("t", Turn::First, Scope::Due, at(60_000), at(70_000), 10).await.unwrap().is_empty());
    assert!(store.next_due("t", Turn::First).await.unwrap().is_none());

    // An operator does not wait for the next try.
    store.end(lease.id, EndedBy::Operator, at(15_500)).await.unwrap();
    assert_eq!(store.claim_due("t", Turn::Again, Scope::Due, at(15_500), at(30_000), 10).await.unwrap().len(), 1);
    // Its broker dies: the claim lapses, and the next one takes it.
    assert_eq!(store.claim_due("t", Turn::Again, Scope::Due, at(30_000), at(40_000), 10).await.unwrap().len(), 1);
    store.settle(vec![Settled { id: lease.id, outcome: Outcome::Dead }], at(30_001)).await.unwrap();
    let last = store.outbox(10).await.unwrap().pop().unwrap();
    assert_eq!((change_of(&last).state, change_of(&last).attempts), (State::Revoked, 1));
}

async fn what_waits_for_a_later_try_is_woken(store: &dyn Store) {
    let mut tried = Vec::new();
    for _ in 0..5 {
        tried.push(active(store, "r", "t", "a").await.id);
    }
    let elsewhere = active(store, "r", "u", "a").await.id;
    let again = |id, ms| Settled { id, outcome: Outcome::Again { error: "no".to_owned(), at: at(ms) } };
    for target in ["t", "u"] {
        store.claim_due(target, Turn::First, Scope::Due, at(10_000), at(20_000), 10).await.unwrap();
    }
    store.settle(tried.iter().copied().map(|id| again(id, 90_000)).collect(), at(10_001)).await.unwrap();
    store.settle(vec![again(elsewhere, 90_000)], at(10_001)).await.unwrap();
    // One was never tried, and one is claimed just now: neither waits for a later try.
    let untried = active(store, "r", "t", "a").await.id;
    store.settle(vec![again(tried[0], 12_000)], at(10_002)).await.unwrap();
    let claimed = store.claim_due("t", Turn::Again, Scope::Due, at(12_000), at(80_000), 10).await.unwrap();
    assert_eq!(claimed.iter().map(|row| row.lease.id).collect::<Vec<_>>(), [tried[0]]);

    assert_eq!(store.wake("t", at(12_500), 3).await.unwrap(), 3);
    assert_eq!(store.wake("t", at(12_500), 3).await.unwrap(), 1);
    assert_eq!(store.wake("t", at(12_500), 3).await.unwrap(), 0);
    assert_eq!(store.next_due("t", Turn::Again).await.unwrap(), Some(at(12_500)));
    assert_eq!(store.next_due("u", Turn::Again).await.unwrap(), Some(at(90_000)));
    let row = store.get(untried).await.unwrap().unwrap();
    assert_eq!((row.lease.state, row.due_at), (State::Active, at(10_000)));
    let mut woken = store.claim_due("t", Turn::Again, Scope::Due, at(12_500), at(30_000), 10).await.unwrap();
    woken.sort_by_key(|row| row.lease.id);
    let mut expected = tried[1..].to_vec();
    expected.sort();
    assert_eq!(woken.iter().map(|row| row.lease.id).collect::<Vec<_>>(), expected);
}

async fn while_expiry_is_held_only_what_was_asked_for_is_claimed(store: &dyn Store) {
    let (asked, expired) = (active(store, "r", "t", "a").await, active(store, "r", "t", "b").await);
    store.end(asked.id, EndedBy::Operator, at(5)).await.unwrap();
    let held = store.claim_due("t", Turn::First, Scope::AskedFor, at(20_000), at(30_000), 10).await.unwrap();
    assert_eq!(held.iter().map(|row| row.lease.id).collect::<Vec<_>>(), [asked.id]);
    assert_eq!(store.get(expired.id).await.unwrap().unwrap().lease.state, State::Active);
    let due = store.claim_due("t", Turn::First, Scope::Due, at(20_000), at(30_000), 10).await.unwrap();
    assert_eq!(due.iter().map(|row| row.lease.id).collect::<Vec<_>>(), [expired.id]);
}

async fn the_first_to_die_is_an_active_one(store: &dyn Store) {
    pending(store, "r", "first", "a").await;
    assert!(store.first_to_die("first").await.unwrap().is_none(), "nobody has a credential yet");
    let leases = [active(store, "r", "first", "a").await, active(store, "r", "first", "b").await];
    store.renew(leases[1].id, at(30_000)).await.unwrap();
    active(store, "r", "elsewhere", "a").await;
    assert_eq!(store.first_to_die("first").await.unwrap(), Some(at(10_000)));
    store.end(leases[0].id, EndedBy::Caller, at(1)).await.unwrap();
    assert_eq!(store.first_to_die("first").await.unwrap(), Some(at(30_000)));
}

async fn a_late_mint_is_claimed_as_failed(store: &dyn Store) {
    let late = pending(store, "r", "t", "a").await;
    let row = store.claim_due("t", Turn::First, Scope::Due, at(1000), at(2000), 10).await.unwrap().remove(0);
    assert_eq!((row.lease.id, row.lease.ended_by, row.receipt), (late.id, Some(EndedBy::Failed), None));
    assert!(!store.activate(late.id, receipt()).await.unwrap());
    assert_eq!(store.get(late.id).await.unwrap().unwrap().lease.state, State::Revoking);
}

async fn what_was_never_made_is_closed_at_once(store: &dyn Store) {
    let lease = pending(store, "r", "t", "a").await;
    store.close_unmade(lease.id, at(3)).await.unwrap();
    let closed = store.get(lease.id).await.unwrap().unwrap().lease;
    assert_eq!((closed.state, closed.ended_by), (State::Revoked, Some(EndedBy::Failed)));
    let lines = store.outbox(10).await.unwrap();
    assert_eq!(lines.iter().map(|l| change_of(l).state).collect::<Vec<_>>(), [State::Revoking, State::Revoked]);
    assert_eq!(store.due_and_live(at(99_999)).await.unwrap(), (0, 0));
    // Only a pending one: what is being ended may exist.
    let other = active(store, "r", "t", "a").await;
    store.close_unmade(other.id, at(3)).await.unwrap();
    assert_eq!(store.get(other.id).await.unwrap().unwrap().lease.state, State::Active);
    store.end(other.id, EndedBy::Failed, at(3)).await.unwrap();
    store.close_unmade(other.id, at(3)).await.unwrap();
    assert_eq!(store.get(other.id).await.unwrap().unwrap().lease.state, State::Revoking);
}

async fn an_adopted_account_is_an_active_lease(store: &dyn Store) {
    let stray = new_lease("r", "t", "a");
    store.adopt(stray.clone()).await.unwrap();
    store.adopt(stray.clone()).await.unwrap();
    let row = store.get(stray.lease.id).await.unwrap().unwrap();
    assert_eq!((row.lease.state, row.due_at, row.receipt), (State::Active, at(10_000), None));
    assert_eq!(store.newest_lease().await.unwrap(), Some(stray.lease.id));
    assert_eq!(store.claim_due("t", Turn::First, Scope::Due, at(10_000), at(11_000), 1).await.unwrap().len(), 1);
    store.settle(vec![Settled { id: stray.lease.id, outcome: Outcome::Dead }], at(10_001)).await.unwrap();
    assert!(matches!(store.adopt(stray.clone()).await, Err(StoreError::Damaged(_))));
    assert_eq!(store.get(stray.lease.id).await.unwrap().unwrap().lease.state, State::Revoked);
    assert_eq!(store.insert(new_lease("r", "t", "a")).await.unwrap(), Inserted::Recorded);
}

async fn every_outcome_closes_as_it_says(store: &dyn Store) {
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(active(store, "r", "t", "a").await.id);
    }
    let untouched = active(store, "r", "t", "a").await.id;
    let closing = |ids: &[LeaseId]| {
        let outcomes = [Outcome::Dead, Outcome::Expired, Outcome::Forgotten];
        ids.iter().zip(outcomes).map(|(id, outcome)| Settled { id: *id, outcome }).collect::<Vec<_>>()
    };
    // What is not being ended cannot be closed, unless its target is forgotten.
    store.settle(closing(&ids[..2]), at(1)).await.unwrap();
    assert_eq!(store.due_and_live(at(1)).await.unwrap(), (0, 5));
    assert_eq!(store.claim_due("t", Turn::First, Scope::Due, at(10_000), at(11_000), 4).await.unwrap().len(), 4);
    store.settle(closing(&ids), at(10_001)).await.unwrap();
    store.settle(vec![], at(10_001)).await.unwrap();
    let mut states = Vec::new();
    for id in &ids {
        let lease = store.get(*id).await.unwrap().unwrap().lease;
        assert_eq!(lease.ended_by, Some(EndedBy::Expiry));
        states.push((lease.state, lease.last_error));
    }
    let note = Some("closed by target forget; not ended in the target".to_owned());
    let (revoked, revoking) = (State::Revoked, State::Revoking);
    assert_eq!(states, [(revoked, None), (State::Expired, None), (revoked, note.clone()), (revoking, None)]);
    assert_eq!(store.get(untouched).await.unwrap().unwrap().lease.state, State::Active);
    // An ended one stays ended.
    store.settle(closing(&[ids[1], ids[0]]), at(10_002)).await.unwrap();
    assert_eq!(store.get(ids[1]).await.unwrap().unwrap().lease.state, State::Expired);

    let lines = store.outbox(100).await.unwrap();
    assert_eq!(lines.len(), 4 + 3);
    assert!(lines.iter().any(|l| change_of(l).note == note && change_of(l).state == State::Revoked));
    assert!(lines.windows(2).all(|w| w[0].number < w[1].number));
    let numbers = |lines: &[OutboxLine]| lines.iter().map(|line| line.number).collect::<Vec<_>>();
    store.outbox_done(&numbers(&lines[..5])).await.unwrap();
    assert_eq!(store.outbox(1).await.unwrap(), lines[5..6]);
    store.outbox_done(&numbers(&lines[5..])).await.unwrap();
    assert!(store.outbox(100).await.unwrap().is_empty());
    // A number is never used again, also when its line is gone.
    store.end(untouched, EndedBy::Vanished, at(3)).await.unwrap();
    assert!(store.outbox(1).await.unwrap()[0].number > lines[6].number);
}

async fn what_is_forgotten_passes_through_its_end(store: &dyn Store) {
    let lives = [pending(store, "r", "t", "a").await.id, active(store, "r", "t", "a").await.id];
    let forget = lives.map(|id| Settled { id, outcome: Outcome::Forgotten });
    store.settle(forget.to_vec(), at(5)).await.unwrap();
    store.settle(forget.to_vec(), at(6)).await.unwrap();
    for id in lives {
        let lease = store.get(id).await.unwrap().unwrap().lease;
        assert_eq!((lease.state, lease.ended_by), (State::Revoked, Some(EndedBy::Operator)));
        let lines = store.outbox(100).await.unwrap();
        let states = lines.iter().map(change_of).filter(|c| c.lease == id).map(|c| c.state).collect::<Vec<_>>();
        assert_eq!(states, [State::Revoking, State::Revoked]);
    }
    assert_eq!(store.due_and_live(at(99_999)).await.unwrap(), (0, 0));
}

async fn what_ended_long_ago_is_purged_and_the_mark_stays(store: &dyn Store) {
    assert!(store.live_targets().await.unwrap().is_empty());
    let mut ids = Vec::new();
    for end in [at(10), at(20), at(30), at(40)] {
        let id = active(store, "r", "t", "a").await.id;
        store.end(id, EndedBy::Caller, end).await.unwrap();
        store.settle(vec![Settled { id, outcome: Outcome::Dead }], end).await.unwrap();
        ids.push(id);
    }
    let (ending, alive) = (active(store, "r", "t", "a").await.id, active(store, "r", "t", "a").await.id);
    store.end(ending, EndedBy::Caller, at(10)).await.unwrap();
    let newest = store.newest_lease().await.unwrap();
    let lines = store.outbox(100).await.unwrap();
    assert_eq!(store.purge(at(10), 10).await.unwrap(), 0, "what ended at that very moment stays");
    assert_eq!(store.purge(at(31), 2).await.unwrap(), 2, "no more than was said, oldest first");
    assert!(store.get(ids[1]).await.unwrap().is_none() && store.get(ids[2]).await.unwrap().is_some());
    assert_eq!(store.purge(at(31), 2).await.unwrap(), 1);
    assert_eq!(store.purge(at(1_000_000), 100).await.unwrap(), 1);
    assert!(store.get(ending).await.unwrap().is_some() && store.get(alive).await.unwrap().is_some());
    assert_eq!(store.outbox(100).await.unwrap(), lines);
    assert_eq!(store.newest_lease().await.unwrap(), newest);
    for id in [ending, alive] {
        store.settle(vec![Settled { id, outcome: Outcome::Forgotten }], at(50)).await.unwrap();
    }
    assert_eq!(store.purge(at(60), 100).await.unwrap(), 2);
    assert_eq!(store.newest_lease().await.unwrap(), newest, "the newest ever, though its row is gone");
}

async fn marks_never_go_back(store: &dyn Store) {
    store.probe().await.unwrap();
    assert!(store.newest_lease().await.unwrap().is_none());
    store.raise_high_water(at(5)).await.unwrap();
    store.raise_high_water(at(3)).await.unwrap();
    store.probe().await.unwrap();
    assert_eq!(store.high_water().await.unwrap(), at(5));
    store.reset_high_water(at(2)).await.unwrap();
    assert_eq!(store.high_water().await.unwrap(), at(2));
    let lease = pending(store, "r", "t", "a").await;
    assert_eq!(store.newest_lease().await.unwrap(), Some(lease.id));
    let later = LeaseId::at(at(0));
    store.raise_newest_lease(later).await.unwrap();
    store.raise_newest_lease(lease.id).await.unwrap();
    assert_eq!(store.newest_lease().await.unwrap(), Some(later));

    // A hold stays as it began until it is released.
    store.hold("t", None).await.unwrap();
    store.hold("t", Some(later)).await.unwrap();
    store.hold("u", Some(later)).await.unwrap();
    store.release("never held").await.unwrap();
    assert_eq!(store.holds().await.unwrap(), [("t".into(), None), ("u".into(), Some(later))].into());
    store.release("t").await.unwrap();
    assert_eq!(store.holds().await.unwrap(), [("u".into(), Some(later))].into());

    assert_eq!(store.audit_head("a").await.unwrap(), None);
    let head = |seq: u64| AuditHead { seq, hash: format!("{seq:064x}") };
    store.keep_audit_head("a", &head(7)).await.unwrap();
    store.keep_audit_head("a", &head(6)).await.unwrap();
    store.keep_audit_head("b", &head(1)).await.unwrap();
    assert_eq!(store.audit_head("a").await.unwrap(), Some(head(7)));
    assert_eq!(store.audit_head("b").await.unwrap(), Some(head(1)));
}

async fn what_was_answered_is_there_after_reopening<S: Store + 'static>(open: &impl AsyncFn(&str) -> S) {
    let store = open("reopened").await;
    let (kept, ended) = (active(&store, "r", "t", "a").await, active(&store, "r", "t", "b").await);
    store.end(ended.id, EndedBy::Caller, at(5)).await.unwrap();
    store.raise_high_water(at(9)).await.unwrap();
    let (tag, lines) = (store.tag().clone(), store.outbox(10).await.unwrap());
    drop(store);

    let store = open("reopened").await;
    assert_eq!(store.tag(), &tag);
    assert_eq!(store.high_water().await.unwrap(), at(9));
    assert_eq!(store.outbox(10).await.unwrap(), lines);
    assert_eq!(store.newest_lease().await.unwrap(), Some(kept.id.max(ended.id)));
    assert_eq!(store.get(kept.id).await.unwrap().unwrap().receipt, Some(receipt()));
    let due = store.claim_due("t", Turn::First, Scope::Due, at(6), at(7), 10).await.unwrap();
    assert_eq!(due.iter().map(|r| r.lease.id).collect::<Vec<_>>(), [ended.id]);
}

fn change_of(line: &OutboxLine) -> &LeaseChange {
    line.entry.change().expect("a lease's line")
}
