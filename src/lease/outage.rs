//! What happens when a target's circuit closes: whoever waits for a later try goes at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Broker;
use crate::engine::TargetHandle;
use crate::engine::circuit::State;
use crate::store::StoreError;

/// Leases that become due in one step; a mint waits for one step at most.
const STEP: usize = 500;
/// Before the store is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// The loop of one target; ends when the broker stops.
pub(super) async fn run(broker: Arc<Broker>, target: Arc<TargetHandle>, mut stop: watch::Receiver<bool>) {
    let mut circuit = target.circuit();
    let every_return = async {
        // Nobody drops the sender while the handle is held.
        while circuit.wait_for(|state| *state == State::Closed).await.is_ok() {
            while let Err(e) = broker.try_now(&target).await {
                tracing::warn!(target_name = %target.name, error = %e, "waiting leases could not be made due; tried again");
                tokio::time::sleep(TRY_AGAIN).await;
            }
            if circuit.wait_for(|state| *state != State::Closed).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = every_return => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

impl Broker {
    /// Makes all leases of the target due now that wait for a later try, the longest overdue first.
    async fn try_now(&self, target: &TargetHandle) -> Result<(), StoreError> {
        let now = self.clock.now();
        while self.store.wake(&target.name, now, STEP).await? > 0 {
            self.changes.bell(&target.name).notify_waiters();
        }
        Ok(())
    }
}
