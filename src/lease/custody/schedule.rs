//! Rotations that nobody has to order.

use std::time::Duration;

use super::super::Broker;
use super::super::authorize::new_decision_id;
use super::KIND;
use crate::store::StoreError;

/// After a rotation that failed, the next one waits this long.
const AFTER_FAILURE: Duration = Duration::from_secs(600);

impl Broker {
    /// Rotates the admin logins whose time has come. Of several brokers, one does it: a generation is written once.
    pub(in super::super) async fn rotate_what_is_due(&self) -> Result<(), StoreError> {
        let current = self.current();
        let asked = current.config.targets.values().filter_map(|t| Some((t, t.rotate_admin_every?)));
        for (target, every) in asked {
            let newest = self.store.sealed().await?;
            let newest =
                newest.into_iter().filter(|row| row.kind == KIND && row.name == target.name).map(|r| r.made_at);
            let due = newest.max().is_none_or(|made| made.plus(every) <= self.clock.now());
            let Some(handle) = current.engines.get(&target.name).filter(|_| due && self.may_try(&target.name)) else {
                continue;
            };
            if let Err(why) = self.rotate_on_record(handle, false, new_decision_id()).await {
                tracing::error!(target_name = %target.name, why = %why, "the admin login could not be rotated on schedule");
                self.custody.failed_at(&target.name, leasehold_sdk::clock::boot() + AFTER_FAILURE);
            }
        }
        Ok(())
    }

    fn may_try(&self, target: &str) -> bool {
        self.custody.waits_until(target).is_none_or(|until| leasehold_sdk::clock::boot() >= until)
    }
}
