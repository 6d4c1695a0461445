//! The reapers: two loops per target, one for leases that fall due and one for those that could not be ended before, so
//! that what is stuck delays nothing (law 7). No input, idempotent, periodic and signalled: the same path after a crash.
//!
//! A loop claims the next batch while the last ones are ended in the target, so that target and store work at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use leasehold_sdk::{AccountName, Ending, EngineError, LeaseId, RevokeOrder, Room, Timestamp, failpoint, random};
use tokio::sync::watch;

use super::Broker;
use super::lanes::{Lanes, Told};
use crate::domain::lease::{EndedBy, Lease};
use crate::engine::TargetHandle;
use crate::limits::Limits;
use crate::store::{Outcome, Row, Scope, Settled, StoreError, Turn};

/// Longest sleep: leases that another broker recorded ring no bell here.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// While a target is not reached from here, what is due is left this long for another broker, which may reach it.
const LEFT_TO_OTHERS: Duration = Duration::from_secs(2);
/// And between two batches that are only put off: a dead target's many leases must not fill the store's queue.
const PUT_OFF_PACE: Duration = Duration::from_millis(100);

/// The loop of one target and turn; ends when the broker stops.
pub(super) async fn run(broker: Arc<Broker>, target: Arc<TargetHandle>, turn: Turn, mut stop: watch::Receiver<bool>) {
    let bell = broker.changes.bell(&target.name);
    let mut lanes = Lanes::new(target.revoke_lanes());
    broker.wait_for_first_survey(&target.name, &mut stop).await;
    while !*stop.borrow() {
        // Listening starts before looking, so that a bell between the two is heard.
        let rung = bell.notified();
        let pause = match broker.claim(&target, turn).await {
            Ok(rows) if !rows.is_empty() => {
                lanes.start(broker.clone().end_batch(target.clone(), turn, rows)).await;
                if target.admit().is_ok() {
                    continue;
                }
                PUT_OFF_PACE
            }
            // What is due while expiry is held stays due, and what is left to others too: there is no moment to wait for.
            Ok(_) if broker.holds_expiry(&target.name) || target.admit().is_err() => LOOK_AGAIN,
            Ok(_) => broker.pause_until_due(&target, turn).await,
            Err(e) => {
                tracing::warn!(target_name = %target.name, error = %e, "the reaper cannot reach the store; it tries again");
                LOOK_AGAIN
            }
        };
        tokio::select! {
            () = rung => {}
            () = tokio::time::sleep(pause) => {}
            () = lanes.one_ends() => {}
            _ = stop.changed() => {}
        }
    }
    lanes.all_end().await;
}

impl Broker {
    /// Claims one batch of what is due.
    async fn claim(&self, target: &TargetHandle, turn: Turn) -> Result<Vec<Row>, StoreError> {
        // A hold stops what the broker would end by itself, never what somebody has asked for.
        let scope = if self.holds_expiry(&target.name) { Scope::AskedFor } else { Scope::Due };
        let current = self.current();
        let limits = &current.config.limits;
        let left = if target.admit().is_err() { LEFT_TO_OTHERS } else { Duration::ZERO };
        let now = self.clock.now().minus(left);
        // Once for the batch before it, once for its own, and once for the unforeseen.
        let claimed_until = now.plus(3 * Duration::from_millis(limits.revoke_milliseconds_max));
        let rows =
            self.store.claim_due(&target.name, turn, scope, now, claimed_until, target.revoke_batch_max()).await?;
        if !rows.is_empty() {
            failpoint::hit("revoke.claimed");
        }
        Ok(rows)
    }

    /// Ends one batch that was claimed, and records what became of it.
    async fn end_batch(self: Arc<Self>, target: Arc<TargetHandle>, turn: Turn, rows: Vec<Row>) -> Told {
        let current = self.current();
        let now = self.clock.now();
        let fell_due = |row: &Row| if row.lease.ended_by == Some(EndedBy::Expiry) { row.lease.expires_at } else { now };
        let due: HashMap<LeaseId, Timestamp> = rows.iter().map(|row| (row.lease.id, fell_due(row))).collect();
        let settled = self.end_in_target(&target, rows, &current.config.limits).await;
        failpoint::hit("revoke.dead");
        let dead_at = self.clock.now();
        for Settled { id, outcome } in &settled {
            if matches!(outcome, Outcome::Told { .. }) {
                // Neither dead nor in trouble: its target's clock has the rest to do.
                continue;
            }
            let dead = !matches!(outcome, Outcome::Again { .. });
            self.metrics.revocation(&target.name, dead, dead_at.since(due.get(id).copied().unwrap_or(now)));
        }
        let ids: Vec<_> = settled.iter().map(|s| s.id).collect();
        let alive = settled.iter().filter(|s| matches!(s.outcome, Outcome::Again { .. })).count();
        let told = if alive == settled.len() { Told::Trouble } else { Told::Answers };
        if let Err(e) = self.store.settle(settled, dead_at).await {
            // The claim lapses, and they are looked at again: ending what is dead is no work.
            tracing::warn!(target_name = %target.name, error = %e, "the store did not take what was ended; it is done again");
            return Told::Trouble;
        }
        failpoint::hit("revoke.settled");
        if alive > 0 && turn == Turn::First {
            // From now on they are the other loop's, which may sleep past their next try.
            self.changes.bell(&target.name).notify_waiters();
        }
        ids.into_iter().for_each(|id| self.changes.tell(id));
        self.changes.outbox.notify_one();
        told
    }

    /// Whether nothing is ended in the target just because its time is up.
    fn holds_expiry(&self, target: &str) -> bool {
        self.unfit().is_some()
            || self.clock.trouble().is_some()
            || self.clock.held_for().is_some()
            || self.is_held(target)
    }

    async fn end_in_target(
        self: &Arc<Self>,
        target: &Arc<TargetHandle>,
        rows: Vec<Row>,
        limits: &Limits,
    ) -> Vec<Settled> {
        let mut settled = Vec::with_capacity(rows.len());
        let (mut orders, mut asked) = (Vec::new(), Vec::new());
        for row in rows {
            match self.may_end(&row) {
                Verdict::Ask => {
                    orders.push(RevokeOrder {
                        plan: row.plan,
                        receipt: row.receipt,
                        mint_deadline: row.mint_deadline,
                        expires_at: row.lease.expires_at,
                        room: Room::default(),
                    });
                    asked.push(row.lease);
                }
                Verdict::NotOurs(error) => {
                    let outcome = Outcome::Again { error, at: self.retry_at(row.lease.attempts, None, limits) };
                    settled.push(Settled { id: row.lease.id, outcome });
                }
            }
        }
        if orders.is_empty() {
            return settled;
        }
        for (lease, result) in asked.iter().zip(self.order_ends(target, orders, &asked, limits).await) {
            let outcome = match result {
                Ok(Ending::Dead) => Outcome::Dead,
                Ok(Ending::Expired) => Outcome::Expired,
                Ok(Ending::Told { notice, look_again, .. }) => {
                    Outcome::Told { notice: notice.to_string(), at: look_again }
                }
                Err(e) => {
                    // The circuit has told once why none of its target's leases ends.
                    let after = if target.admit().is_err() {
                        None
                    } else {
                        tracing::warn!(lease = %lease.id, target_name = %target.name, attempts = lease.attempts + 1, why = %e,
                            "the lease could not be ended; it is tried again");
                        if let EngineError::Retry { after, .. } = &e { *after } else { None }
                    };
                    Outcome::Again { error: e.to_string(), at: self.retry_at(lease.attempts, after, limits) }
                }
            };
            settled.push(Settled { id: lease.id, outcome });
        }
        settled
    }

    /// Orders ends, each with its place in its room.
    async fn order_ends(
        &self,
        target: &Arc<TargetHandle>,
        mut orders: Vec<RevokeOrder>,
        leases: &[Lease],
        limits: &Limits,
    ) -> Vec<Result<Ending, EngineError>> {
        let of_room: Vec<bool> = orders.iter().map(|order| order.plan.room.is_some()).collect();
        if let Err(e) = self.furnish(&mut orders, leases, limits.aws_deny_entries_per_identity).await {
            return vec![
                Err(EngineError::retry(format!("the store does not take its place in the policy: {e}")));
                leases.len()
            ];
        }
        let results = target.revoke(orders).await;
        let ended = leases.iter().zip(of_room).zip(&results);
        let ended: Vec<_> = ended.filter_map(|((l, room), result)| Some((l, room, result.as_ref().ok()?))).collect();
        if let Err(e) = self.leave_rooms(&ended).await {
            // They are over by their own time, and whoever writes the room next leaves them out.
            tracing::warn!(target_name = %target.name, error = %e, "places of what has ended could not be given back");
        }
        results
    }

    /// Law 10: an edited row must not make the broker drop somebody else's account.
    fn may_end(&self, row: &Row) -> Verdict {
        let cluster = self.current().config.broker.cluster.clone();
        let own = AccountName::new(cluster, self.store.tag().clone(), row.lease.id);
        if row.plan.account != own || row.lease.account != own {
            return Verdict::NotOurs(format!(
                "its row names the account {}, but the account of this lease is {own}: the row was changed by another hand, \
                 and nothing is dropped by it",
                row.plan.account
            ));
        }
        Verdict::Ask
    }

    /// When to try again: capped, growing, and spread by a fifth so that a recovered target is not met by all at once.
    fn retry_at(&self, attempts: u32, after: Option<Duration>, limits: &Limits) -> Timestamp {
        let first = Duration::from_millis(limits.revoke_retry_milliseconds_min);
        let most = Duration::from_millis(limits.revoke_retry_milliseconds_max);
        let wait = first.saturating_mul(2u32.saturating_pow(attempts.min(20))).min(most);
        // An engine that knows when the answer will be known is taken at its word, but never beyond the cap.
        let wait = after.map_or(wait, |known| known.min(most));
        self.clock.now().plus(wait.mul_f64(1.0 + random::fraction() / 5.0))
    }

    async fn pause_until_due(&self, target: &TargetHandle, turn: Turn) -> Duration {
        match self.store.next_due(&target.name, turn).await {
            Ok(Some(due)) => due.since(self.clock.now()).clamp(Duration::from_millis(5), LOOK_AGAIN),
            _ => LOOK_AGAIN,
        }
    }

    /// The first look at a target comes before the first lease is ended there: only it can tell that the store is an older
    /// copy of itself, by which what lives would be ended by mistake. A target that cannot be looked at is no reason to wait.
    async fn wait_for_first_survey(&self, target: &str, stop: &mut watch::Receiver<bool>) {
        let mut surveyed = self.surveyed(target);
        tokio::select! {
            _ = surveyed.wait_for(|done| *done) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }
}

enum Verdict {
    /// The target is to end it.
    Ask,
    /// The row does not fit its lease.
    NotOurs(String),
}
