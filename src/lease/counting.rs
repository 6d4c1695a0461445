//! How many leases there are, for metrics: the one thing that has to walk all live leases, and so is done in the background
//! and at a pace that follows from what it costs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use leasehold_sdk::clock;
use tokio::sync::watch;

use super::Broker;
use crate::store::StoreError;

/// Shortest time between two counts.
const PAUSE_MIN: Duration = Duration::from_secs(2);

/// A count may take one part in so many of the time.
const SHARE: u32 = 100;

/// The loop that counts; ends when the broker stops.
pub(super) async fn run(broker: Arc<Broker>, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        let started = clock::boot();
        if let Err(e) = broker.count().await {
            tracing::warn!(error = %e, "the leases could not be counted for the metrics; it is tried again");
        }
        let pause = PAUSE_MIN.max((clock::boot() - started) * SHARE);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.changed() => {}
        }
    }
}

impl Broker {
    async fn count(&self) -> Result<(), StoreError> {
        let (due, _) = self.store.due_and_live(self.clock.now()).await?;
        // A target without leases is shown, too.
        let mut live: BTreeMap<_, _> = self.current().engines.iter().map(|t| (t.name.clone(), 0)).collect();
        live.extend(self.store.live_by_target().await?);
        self.metrics.leases_now(due, &live);
        let mut budget = BTreeMap::new();
        for target in live.keys() {
            if let Some(end) = self.store.first_to_die(target).await? {
                budget.insert(target.clone(), end.since(self.clock.now()));
            }
        }
        self.metrics.outage_budget(&budget);
        Ok(())
    }
}
