//! Who waits for a lease to change: long polls, revocations that answer when it is dead, reapers with new work.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use leasehold_sdk::LeaseId;
use tokio::sync::{Notify, broadcast, watch};

/// Changes that a slow waiter may fall behind before it has to look for itself.
const BEHIND_MAX: usize = 1024;

/// News of leases within this process. Another broker's changes are found by looking again after a second.
pub(super) struct Changes {
    changed: broadcast::Sender<LeaseId>,
    /// Nobody is to wait any longer.
    over: watch::Sender<bool>,
    /// One bell per target: its reapers have something to do.
    bells: Mutex<HashMap<String, Arc<Notify>>>,
    /// Something is in the outbox.
    pub outbox: Notify,
    /// There is an order to carry out.
    pub orders: Notify,
}

impl Changes {
    pub(super) fn new() -> Self {
        Self {
            changed: broadcast::Sender::new(BEHIND_MAX),
            over: watch::Sender::new(false),
            bells: Mutex::default(),
            outbox: Notify::new(),
            orders: Notify::new(),
        }
    }

    /// A lease changed.
    pub(super) fn tell(&self, id: LeaseId) {
        // Nobody listening is fine.
        let _ = self.changed.send(id);
    }

    pub(super) fn listen(&self) -> broadcast::Receiver<LeaseId> {
        self.changed.subscribe()
    }

    /// Answers everybody who waits, now and from now on: the broker stops.
    pub(super) fn end_waiting(&self) {
        self.over.send_replace(true);
    }

    /// Becomes true when nobody is to wait any longer.
    pub(super) fn waiting_ends(&self) -> watch::Receiver<bool> {
        self.over.subscribe()
    }

    /// The bell of a target's reapers.
    pub(super) fn bell(&self, target: &str) -> Arc<Notify> {
        let mut bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        bells.entry(target.to_owned()).or_default().clone()
    }

    /// Wakes the reapers of every target.
    pub(super) fn ring_all(&self) {
        let bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        bells.values().for_each(|bell| bell.notify_waiters());
    }
}
