//! What an older copy of the store has forgotten of leases that it knows. Leases that it does not know at all are held as
//! strays (see [`super::reconciler`]).

use std::collections::BTreeMap;

use leasehold_sdk::{LeaseId, Listed, Receipt, Timestamp};

use super::{Broker, TargetReport};
use crate::domain::lease::State;
use crate::engine::TargetHandle;
use crate::store::{Live, Row, StoreError};

/// What a target's clock may round away.
const ROUNDING: std::time::Duration = std::time::Duration::from_secs(1);

/// Until when a target holds an account, if that is later than its row has ever allowed. A renewal is in the store before it
/// is in the target, so this can only mean that the store is an older copy of itself.
pub(super) fn renewed_since(live: &Live, account: &Listed) -> Option<Timestamp> {
    let known = live.worst_case_until?;
    account.expires_at.filter(|there| *there > known.plus(ROUNDING))
}

impl Broker {
    /// Takes over a later end, so that what was renewed since the backup does not end by the older row: never later than the
    /// lease may live at all.
    pub(super) async fn catch_up(
        &self,
        target: &TargetHandle,
        account: &Listed,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        let id = account.account.lease();
        if let Some(receipt) = &account.receipt {
            // Where the backup saw it being minted, it has come to be since: only what was handed out is renewed.
            self.store.activate(id, receipt.clone()).await?;
        }
        let Some(row) = self.store.get(id).await? else { return Ok(()) };
        let until = until.min(row.lease.max_expires_at);
        if self.store.renew(id, until).await?.is_none() {
            return Ok(());
        }
        self.changes.tell(id);
        let note = format!("renewed until {until} since this store was written: the store is an older copy of itself");
        self.put_stray_on_record(target, &account.account, "renewed", Some(&note)).await;
        Ok(())
    }

    /// Leases that the backup saw being minted and whose accounts are there: where an operator says that what this store does
    /// not know is in use, so are these.
    pub(super) async fn finish(
        &self,
        target: &TargetHandle,
        unfinished: BTreeMap<LeaseId, Receipt>,
        report: &mut TargetReport,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        for (id, receipt) in unfinished {
            // One that began later, and whose deadline is still to come, is being minted right now.
            let was_before = Some(id) <= self.surveys.newest_at_start;
            let is_over = |row: Row| row.lease.state == State::Pending && (was_before || row.mint_deadline < now);
            if self.store.get(id).await?.is_some_and(is_over) && self.store.activate(id, receipt).await? {
                self.changes.tell(id);
                self.put_stray_on_record(target, &self.account(id), "adopted", None).await;
                report.strays.push((self.account(id).to_string(), "adopted", None));
            }
        }
        Ok(())
    }
}
