//! What is counted when: one method per deed, so that the code that does it says it in one line.

use std::collections::BTreeMap;
use std::time::Duration;

use leasehold_sdk::Timestamp;

use super::labels::{
    ActionAllowed, HandshakeResult, OfResult, OfRoute, OfSink, OfTarget, RouteStatus, TargetDone, TargetResult,
    TargetState,
};
use super::metrics::Metrics;

impl Metrics {
    /// A handshake ended: `None` well, else for this reason.
    pub fn handshake(&self, refused: Option<&'static str>) {
        let result = if refused.is_some() { "refused" } else { "ok" };
        self.handshakes.get_or_create(&HandshakeResult::of(result, refused.unwrap_or("none"))).inc();
    }

    /// A connection of the API was opened.
    pub fn connection_opened(&self) {
        self.connections.inc();
    }

    /// A connection of the API is over.
    pub fn connection_closed(&self) {
        self.connections.dec();
    }

    /// A request was answered.
    pub fn request(&self, route: &'static str, status: u16, took: Duration) {
        self.requests.get_or_create(&RouteStatus::of(route, status)).inc();
        self.request_seconds.get_or_create(&OfRoute::of(route)).observe(took.as_secs_f64());
    }

    /// A request on the break-glass socket was answered: what it asked for was done, or it was refused.
    pub fn break_glass(&self, done: bool) {
        self.break_glass_requests.get_or_create(&OfResult::of(if done { "done" } else { "refused" })).inc();
    }

    /// A question was decided.
    pub fn decision(&self, action: &'static str, allowed: bool) {
        let allowed = if allowed { "true" } else { "false" };
        self.decisions.get_or_create(&ActionAllowed::of(action, allowed)).inc();
    }

    /// A mint ended.
    pub fn mint(&self, target: &str, result: &'static str, took: Duration) {
        self.mints.get_or_create(&TargetResult::of(target, result)).inc();
        if result == "ok" {
            self.mint_seconds.get_or_create(&OfTarget::of(target)).observe(took.as_secs_f64());
        }
    }

    /// A try to end a lease ended; `lag` is the time since it fell due.
    pub fn revocation(&self, target: &str, dead: bool, lag: Duration) {
        let result = if dead { "ok" } else { "again" };
        self.revocations.get_or_create(&TargetResult::of(target, result)).inc();
        if dead {
            self.revocation_lag_seconds.get_or_create(&OfTarget::of(target)).observe(lag.as_secs_f64());
        }
    }

    /// A pass of the reconciler ended.
    pub fn reconciled(&self, target: &str, blind: bool, strays: impl Iterator<Item = &'static str>) {
        let result = if blind { "failed" } else { "ok" };
        self.reconcile_passes.get_or_create(&TargetResult::of(target, result)).inc();
        self.strays_found(target, strays);
    }

    /// Accounts without a live lease were found, and this was done about each.
    pub fn strays_found(&self, target: &str, strays: impl Iterator<Item = &'static str>) {
        for done in strays {
            self.strays.get_or_create(&TargetDone::of(target, done)).inc();
        }
    }

    /// Whether an audit sink took its last lines.
    pub fn audit_sink(&self, sink: &str, is_up: bool) {
        self.audit_sink_up.get_or_create(&OfSink::of(sink)).set(i64::from(is_up));
    }

    /// Whether a target answered its last call.
    pub fn target_answers(&self, target: &str, answers: bool) {
        self.target_up.get_or_create(&OfTarget::of(target)).set(i64::from(answers));
    }

    /// A target's circuit is in this state; `changed` where it was in another one before.
    pub fn circuit(&self, target: &str, state: &'static str, refuses: bool, changed: bool) {
        self.target_circuit_open.get_or_create(&OfTarget::of(target)).set(i64::from(refuses));
        if changed {
            self.target_circuit_changes.get_or_create(&TargetState::of(target, state)).inc();
        }
    }

    /// How many leases live, and how many of them are due.
    pub fn leases_now(&self, due: u64, by_target: &BTreeMap<String, u64>) {
        let gauge = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.due_leases.set(gauge(due));
        // A target that has left must not keep its last number for ever.
        self.leases.clear();
        for (target, live) in by_target {
            self.leases.get_or_create(&OfTarget::of(target.as_str())).set(gauge(*live));
        }
    }

    /// How long each target's first lease to end still lives; targets without any are not shown.
    pub fn outage_budget(&self, by_target: &BTreeMap<String, Duration>) {
        self.outage_budget_seconds.clear();
        for (target, left) in by_target {
            self.outage_budget_seconds.get_or_create(&OfTarget::of(target.as_str())).set(left.as_secs_f64());
        }
    }

    /// How far the store's clock is from the broker's own.
    pub fn clock_skew(&self, skew_ms: i64) {
        self.clock_skew_seconds.set(skew_ms as f64 / 1000.0);
    }

    /// When the broker's own SVID ends.
    pub fn svid_not_after(&self, unix_ms: i64) {
        self.svid_not_after_timestamp_seconds.set(unix_ms as f64 / 1000.0);
    }

    /// A configuration came into force.
    pub fn config_loaded(&self, at: Timestamp) {
        self.config_loaded_timestamp_seconds.set(at.unix_ms() as f64 / 1000.0);
    }
}
