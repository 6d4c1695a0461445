//! Refused handshakes, put on record at a bounded rate: a port scanner must not fill the disk.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use leasehold_sdk::clock;

use super::{AuditLog, Event};

/// Time that one allowance of lines is for, and between two lines that count the rest.
const WINDOW: Duration = Duration::from_secs(60);
/// Reasons that are told apart; more share one, called `other`.
const REASONS_MAX: usize = 64;
/// Characters of a claimed identity that are kept.
const CLAIMED_CHARS_MAX: usize = 256;

/// Lets the first refusals of each reason and minute through and counts the rest.
pub struct HandshakeGate {
    per_window: u64,
    state: Mutex<State>,
}

struct State {
    since: Duration,
    let_through: BTreeMap<String, u64>,
    counted: BTreeMap<String, u64>,
}

impl HandshakeGate {
    /// Lets `per_minute` refusals of each reason through: `refused_handshakes_audited_per_minute`.
    pub fn new(per_minute: u64) -> Self {
        let state = State { since: clock::boot(), let_through: BTreeMap::new(), counted: BTreeMap::new() };
        Self { per_window: per_minute, state: Mutex::new(state) }
    }

    /// A handshake was refused. Answers the line to write; `None`: it was counted.
    pub fn refused(&self, peer: &str, reason: &str, claimed: Option<&str>) -> Option<Event> {
        self.refused_at(clock::boot(), peer, reason, claimed)
    }

    /// The line that says how many were counted since the last one; `None`: none were. [`run`](Self::run) calls it.
    pub fn counted(&self) -> Option<Event> {
        let counts = std::mem::take(&mut self.lock().counted);
        (!counts.is_empty()).then_some(Event::HandshakesRefused { counts })
    }

    /// Writes the counts once a minute, for ever; a count that the log does not take is kept for the next time.
    pub async fn run(&self, log: &AuditLog) {
        let mut every = tokio::time::interval(WINDOW);
        loop {
            every.tick().await;
            self.write_counted(log).await;
        }
    }

    /// Writes the counts now: once more at shutdown.
    pub async fn write_counted(&self, log: &AuditLog) {
        let Some(event) = self.counted() else { return };
        if log.write(event.clone()).await.is_err() {
            let Event::HandshakesRefused { counts } = event else { return };
            let mut state = self.lock();
            for (reason, count) in counts {
                *state.counted.entry(reason).or_default() += count;
            }
        }
    }

    fn refused_at(&self, now: Duration, peer: &str, reason: &str, claimed: Option<&str>) -> Option<Event> {
        let mut state = self.lock();
        if now.saturating_sub(state.since) >= WINDOW {
            state.since = now;
            state.let_through.clear();
        }
        let known = state.let_through.contains_key(reason) || state.let_through.len() < REASONS_MAX;
        let reason = if known { reason } else { "other" };
        let let_through = state.let_through.entry(reason.to_owned()).or_default();
        if *let_through < self.per_window {
            *let_through += 1;
            let claimed = claimed.map(|claimed| claimed.chars().take(CLAIMED_CHARS_MAX).collect());
            return Some(Event::HandshakeRefused { peer: peer.to_owned(), reason: reason.to_owned(), claimed });
        }
        *state.counted.entry(reason.to_owned()).or_default() += 1;
        None
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_each_reason_and_minute_are_told_and_the_rest_counted() {
        let gate = HandshakeGate::new(2);
        let start = gate.lock().since;
        let refused = |after: u64, reason: &str| {
            gate.refused_at(start + Duration::from_secs(after), "192.0.2.1:5", reason, Some("spiffe://a/b")).is_some()
        };
        assert_eq!([1, 2, 3, 4].map(|after| refused(after, "expired")), [true, true, false, false]);
        assert!(refused(5, "ca_leaf"));
        assert!(refused(60, "expired"));
        let Some(Event::HandshakesRefused { counts }) = gate.counted() else { panic!("two were counted") };
        assert_eq!(counts, BTreeMap::from([("expired".to_owned(), 2)]));
        assert!(gate.counted().is_none());
    }

    #[test]
    fn neither_reasons_nor_claims_grow_without_end() {
        let gate = HandshakeGate::new(1);
        for n in 0..10_000 {
            gate.refused("p", &format!("reason {n}"), Some(&"é".repeat(10_000)));
        }
        assert!(gate.lock().let_through.len() <= REASONS_MAX + 1);
        let event = HandshakeGate::new(1).refused("p", "r", Some(&"é".repeat(10_000)));
        assert!(serde_json::to_string(&event.unwrap()).unwrap().len() < 1000);
    }
}
