//! Leases whose place another has taken: they live to their end, so that whoever works with them can finish, unless it is
//! known that nobody does any more.

use std::time::Duration;

use super::{Shared, Unrevoked};
use crate::clock;

/// One of them.
pub(super) struct Retiring {
    generation: u64,
    lease: String,
    /// By the boot-time clock.
    ends: Duration,
}

impl Shared {
    /// Notes that the present one is about to be replaced.
    pub(super) fn note_retiring(&self) {
        let Some(held) = self.held.borrow().clone() else { return };
        // What has no lease ends by itself, and only so.
        let Some(lease) = held.lease_id().map(str::to_owned) else { return };
        let now = clock::boot();
        self.retiring(|all| {
            all.retain(|one| one.ends > now);
            all.push(Retiring { generation: held.generation, lease, ends: held.life.ends() });
        });
    }

    /// Ends those of generations before `at_least`. Answers those that could not be.
    pub(super) async fn retire(&self, at_least: u64) -> Vec<Unrevoked> {
        let at_least = at_least.min(self.held.borrow().as_ref().map_or(0, |held| held.generation));
        let now = clock::boot();
        let ids = self.retiring(|all| {
            all.retain(|one| one.ends > now);
            all.iter().filter(|one| one.generation < at_least).map(|one| one.lease.clone()).collect()
        });
        self.end(ids).await
    }

    /// Ends all that are held. Answers those that could not be.
    pub(super) async fn end_all(&self) -> Vec<Unrevoked> {
        let mut ids: Vec<String> = self.retiring(|all| all.iter().map(|one| one.lease.clone()).collect());
        ids.extend(self.held.borrow().as_ref().and_then(|held| held.lease_id().map(str::to_owned)));
        self.end(ids).await
    }

    /// Each is noted until it has ended: who is stopped on the way has lost none.
    async fn end(&self, ids: Vec<String>) -> Vec<Unrevoked> {
        let mut left = Vec::new();
        for lease in ids {
            match self.client.revoke(&lease).await {
                // 404: gone already, and from the record, too.
                Err(error) if error.status() != Some(404) => {
                    tracing::warn!(%lease, %error, "the lease could not be revoked; else it ends by itself");
                    left.push(Unrevoked { lease, error });
                }
                _ => self.retiring(|all| all.retain(|one| one.lease != lease)),
            }
        }
        left
    }
}
