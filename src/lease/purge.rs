//! Leases that ended long ago leave the store, in small steps with pauses: minting never waits for more than one of them.
//! What they were is in the audit log.

use std::sync::Arc;
use std::time::Duration;

use leasehold_sdk::{Timestamp, clock};
use tokio::sync::watch;

use super::Broker;
use crate::store::StoreError;

/// Between two looks when nothing was left to purge.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The loop that purges; ends when the broker stops.
pub(super) async fn run(broker: Arc<Broker>, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        let started = clock::boot();
        let pause = match broker.purge_step().await {
            // Half of the store's time is left to everybody else.
            Ok(true) => clock::boot() - started,
            Ok(false) => LOOK_AGAIN,
            Err(e) => {
                tracing::warn!(error = %e, "ended leases could not be purged; it is tried again");
                LOOK_AGAIN
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.changed() => {}
        }
    }
}

impl Broker {
    /// Purges one step's worth. Whether there may be more.
    async fn purge_step(&self) -> Result<bool, StoreError> {
        let limits = &self.current().config.limits;
        let step = usize::try_from(limits.purge_step_leases_max).unwrap_or(usize::MAX);
        // A clock that is not trusted is no reason to forget.
        if !self.clock.may_be_kept() || self.unfit().is_some() {
            return Ok(false);
        }
        let kept = Duration::from_secs(limits.ended_leases_kept_hours * 3600);
        let kept_ms = i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
        let before = Timestamp::from_unix_ms(self.clock.now().unix_ms().saturating_sub(kept_ms));
        let leases = self.store.purge(before, step).await?;
        self.metrics.purged_leases.inc_by(leases);
        let orders = self.store.purge_orders(before, step).await?;
        let tokens = match &self.keeper {
            // Lists that could not be purged keep no lease.
            Some(keeper) => keeper.purge(self.clock.now(), step).await.unwrap_or_else(|e| {
                tracing::warn!(error = %e, "status lists could not be purged; it is tried again");
                0
            }),
            None => 0,
        };
        Ok(leases.max(orders).max(tokens) >= step as u64)
    }
}
