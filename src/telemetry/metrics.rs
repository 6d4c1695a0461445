//! Every metric of the broker. `docs/metrics.md` explains each to an operator, and a test holds the two together.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::labels::{
    ActionAllowed, Build, HandshakeResult, OfLimit, OfResult, OfRoute, OfSink, OfTarget, RouteStatus, TargetDone,
    TargetResult, TargetState,
};
use super::table::metrics;
use crate::limits::Limits;

/// What `GET /metrics` answers with: its encoding is OpenMetrics text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A gauge whose value may have a fraction: seconds, and times in seconds since 1970.
pub type FloatGauge = Gauge<f64, AtomicU64>;
/// Histograms of one label set.
pub type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

metrics! {
    /// The metrics of a broker, each a handle that is cheap to update from anywhere.
    Metrics "leasehold":

    /// Mints by how they ended.
    mints: Family<TargetResult, Counter> = Family::default();
    /// Time from recording a lease to its credential being ready.
    mint_seconds: Histograms<OfTarget> = Family::new_with_constructor(seconds);
    /// Tries to end a lease, by how they ended.
    revocations: Family<TargetResult, Counter> = Family::default();
    /// Time from a lease falling due to its being dead in the target.
    revocation_lag_seconds: Histograms<OfTarget> = Family::new_with_constructor(lag);
    /// Leases that live: pending, active or revoking.
    leases: Family<OfTarget, Gauge> = Family::default();
    /// Live leases that are due and not yet ended.
    due_leases: Gauge = Gauge::default();
    /// Time until the first lease that lives now ends, should no broker come back.
    outage_budget_seconds: Family<OfTarget, FloatGauge> = Family::default();
    /// Ended leases that left the store when their time to be kept was over.
    purged_leases: Counter = Counter::default();
    /// TLS handshakes by how they ended.
    handshakes: Family<HandshakeResult, Counter> = Family::default();
    /// Open connections of the API.
    connections: Gauge = Gauge::default();
    /// Requests answered.
    requests: Family<RouteStatus, Counter> = Family::default();
    /// Time to answer a request.
    request_seconds: Histograms<OfRoute> = Family::new_with_constructor(seconds);
    /// Requests on the break-glass socket, by how they ended.
    break_glass_requests: Family<OfResult, Counter> = Family::default();
    /// Questions decided.
    decisions: Family<ActionAllowed, Counter> = Family::default();
    /// Audit lines written.
    audit_lines: Counter = Counter::default();
    /// Writes or syncs of an audit sink that failed.
    audit_failures: Family<OfSink, Counter> = Family::default();
    /// Whether the sink took its last lines (1) or not (0).
    audit_sink_up: Family<OfSink, Gauge> = Family::default();
    /// Bytes of lines that wait for an audit sink that is not required.
    audit_waiting_bytes: Family<OfSink, Gauge> = Family::default();
    /// Lines that an audit sink that is not required lost.
    audit_lost_lines: Family<OfSink, Counter> = Family::default();
    /// Whether every required audit sink took its last line (1) or not (0).
    audit_writable: Gauge = Gauge::default();
    /// Time for one commit of the store.
    store_commit_seconds: Histogram = seconds();
    /// Changes that shared one commit of the store.
    store_group_size: Histogram = sizes();
    /// Changes the store refused or failed to make.
    store_failures: Counter = Counter::default();
    /// How often a limit refused something.
    limit_hits: Family<OfLimit, Counter> = Family::default();
    /// The limits in force.
    limit: Family<OfLimit, Gauge> = Family::default();
    /// Passes of the reconciler, by how they ended.
    reconcile_passes: Family<TargetResult, Counter> = Family::default();
    /// Strays found, by what was done about them.
    strays: Family<TargetDone, Counter> = Family::default();
    /// Whether the last call to the target reached it (1) or not (0).
    target_up: Family<OfTarget, Gauge> = Family::default();
    /// Whether calls to the target are made (0), or its circuit is open (1).
    target_circuit_open: Family<OfTarget, Gauge> = Family::default();
    /// Changes of a target's circuit, by what it became.
    target_circuit_changes: Family<TargetState, Counter> = Family::default();
    /// How far the wall clock is from the store's clock; positive: ahead.
    clock_skew_seconds: FloatGauge = Gauge::default();
    /// When the running configuration was loaded, in seconds since 1970.
    config_loaded_timestamp_seconds: FloatGauge = Gauge::default();
    /// Reloads of the configuration that were refused.
    config_reload_failures: Counter = Counter::default();
    /// When the broker's own SVID ends, in seconds since 1970.
    svid_not_after_timestamp_seconds: FloatGauge = Gauge::default();
    /// Always 1; its labels say which build this is.
    build_info: Family<Build, Gauge> = Family::default();
}

impl Metrics {
    /// Shows the limits in force.
    pub fn show_limits(&self, limits: &Limits) {
        for (name, value) in limits.values() {
            self.limit.get_or_create(&OfLimit::of(name)).set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }

    /// Counts that the limit called `name` refused something.
    pub fn hit(&self, name: &'static str) {
        self.limit_hits.get_or_create(&OfLimit::of(name)).inc();
    }
}

/// From half a millisecond to half a minute, for what somebody waits for.
fn seconds() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0])
}

/// From ten milliseconds to a day, for what is tried until it is done.
fn lag() -> Histogram {
    Histogram::new([0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 86_400.0])
}

/// Powers of two, for the size of groups.
fn sizes() -> Histogram {
    Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_explained_to_operators() {
        assert_explained(include_str!("../../docs/metrics.md"));
    }

    #[test]
    fn limits_and_hits_are_shown_by_name() {
        let metrics = Metrics::new();
        metrics.show_limits(&Limits::default());
        metrics.hit("body_bytes_max");
        let encoded = metrics.encode();
        assert!(encoded.contains("leasehold_limit{limit=\"body_bytes_max\"} 16384"), "{encoded}");
        assert!(encoded.contains("leasehold_limit_hits_total{limit=\"body_bytes_max\"} 1"), "{encoded}");
        assert!(encoded.ends_with("# EOF\n"));
    }
}
