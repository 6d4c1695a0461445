//! Every metric of the agent. `docs/agent.md` explains each, and a test holds the two together.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::labels::{Build, CredentialStep, OfCredential};
use super::metrics::FloatGauge;
use super::table::metrics;

metrics! {
    /// The metrics of an agent at one moment.
    AgentMetrics "leasehold_agent":

    /// The present generation; 0 until the first was fetched.
    generation: Family<OfCredential, Gauge> = Family::default();
    /// The generation that was delivered last; 0 until the first was.
    delivered_generation: Family<OfCredential, Gauge> = Family::default();
    /// How long the present lease still lives; 0 when there is none.
    left_seconds: Family<OfCredential, FloatGauge> = Family::default();
    /// Whether it is near its end, ended or not there, and cannot be replaced (1), or not (0).
    alarm: Family<OfCredential, Gauge> = Family::default();
    /// Credentials that took the place of another.
    rotations: Family<OfCredential, Counter> = Family::default();
    /// Renewals.
    renewals: Family<OfCredential, Counter> = Family::default();
    /// Tries that failed, by what was tried.
    failures: Family<CredentialStep, Counter> = Family::default();
    /// When it was delivered last, in seconds since 1970.
    delivered_timestamp_seconds: Family<OfCredential, FloatGauge> = Family::default();
    /// When the agent's own SVID ends, in seconds since 1970.
    svid_not_after_timestamp_seconds: FloatGauge = Gauge::default();
    /// Always 1; its labels say which build this is.
    build_info: Family<Build, Gauge> = Family::default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_explained() {
        assert_explained(include_str!("../../docs/agent.md"));
    }
}
