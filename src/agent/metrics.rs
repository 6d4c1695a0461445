//! What the agent counts, for whoever watches it. Nothing here names a lease or holds a secret.

use leasehold_sdk::Timestamp;

use super::supply::{Supplies, Supply};
use crate::telemetry::AgentMetrics;
use crate::telemetry::labels::{CredentialStep, OfCredential};

/// All of it as it is now. Nothing is kept between two looks: what is counted is counted where it is done.
pub fn page(supplies: &Supplies) -> String {
    let metrics = AgentMetrics::new();
    metrics.svid_not_after_timestamp_seconds.set(supplies.svid_not_after().unix_ms() as f64 / 1000.0);
    for (name, supply) in supplies.iter() {
        show(&metrics, name, supply);
    }
    metrics.encode()
}

fn show(metrics: &AgentMetrics, name: &str, supply: &Supply) {
    let (status, counts, deliveries) = (supply.status(), supply.credentials.counts(), supply.acks.deliveries());
    let of = OfCredential::of(name);
    let gauge = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    metrics.generation.get_or_create(&of).set(gauge(status.generation));
    metrics.delivered_generation.get_or_create(&of).set(gauge(status.delivered));
    let left = supply.credentials.current().map(|held| held.time_left().as_secs_f64());
    metrics.left_seconds.get_or_create(&of).set(left.unwrap_or_default());
    metrics.alarm.get_or_create(&of).set(i64::from(status.alarm));
    metrics.rotations.get_or_create(&of).inc_by(counts.rotations);
    metrics.renewals.get_or_create(&of).inc_by(counts.renewals);
    for (step, failed) in
        [("fetch", counts.failed_fetches), ("renew", counts.failed_renewals), ("deliver", deliveries.failed)]
    {
        metrics.failures.get_or_create(&CredentialStep::of(name, step)).inc_by(failed);
    }
    if let Some(at) = deliveries.last {
        metrics.delivered_timestamp_seconds.get_or_create(&of).set(Timestamp::unix_ms(at) as f64 / 1000.0);
    }
}
