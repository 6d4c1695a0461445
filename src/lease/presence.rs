//! The brokers of one store: each says every two seconds that it is alive. What a dead one was ending is taken over by whoever
//! notices first; there is no leader to lose.

use std::sync::Arc;
use std::time::Duration;

use leasehold_sdk::{Timestamp, failpoint};

use super::authorize::Deed;
use super::mint::COME_AGAIN;
use super::{Broker, Failure, RequestId};
use crate::domain::caller::Caller;
use crate::domain::grant::Action;
use crate::store::{KnownBroker, Presence, StoreError};

/// A broker that was not seen for so long is dead: four of its beats were missed.
pub const DEAD_AFTER: Duration = Duration::from_secs(8);

/// One that was not seen for so long is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(7 * 86_400);

/// What is known of a broker.
#[derive(Debug, Clone)]
pub struct Colleague {
    /// What the store knows.
    pub known: KnownBroker,
    /// Whether it was seen lately.
    pub alive: bool,
}

impl Broker {
    /// What an earlier process of this broker had claimed is free at once, and the others see this one.
    pub(super) async fn arrive(&self) -> Result<(), StoreError> {
        self.store.leave().await?;
        self.beat().await
    }

    /// Says that this broker is alive, and takes over what the dead have left.
    pub(super) async fn beat(&self) -> Result<(), StoreError> {
        let presence = Presence { config_hash: self.current().config.hash.clone(), ..self.presence.clone() };
        let unfit = match self.store.standing().await?.check() {
            Err(e) => Some(e.to_string()),
            Ok(()) if self.store.beat(&presence).await? => None,
            Ok(()) => Some("another process runs under this broker's id: its data_dir was copied".to_owned()),
        };
        if let (Some(why), None) = (&unfit, self.unfit()) {
            tracing::error!(id = %presence.id, why, "this broker has no part in the store's work any more");
        }
        let fit = unfit.is_none();
        self.unfit.store(unfit.map(Arc::new));
        if !fit {
            return Ok(());
        }
        let now = self.store.clock().await?;
        let taken = self.store.take_over(before(now, DEAD_AFTER)).await?;
        if taken > 0 {
            failpoint::hit("takeover.taken");
            tracing::warn!(taken, "a broker is dead: what it was ending is taken over");
            self.changes.ring_all();
            self.changes.outbox.notify_one();
        }
        self.store.forget_brokers(before(now, FORGOTTEN_AFTER)).await?;
        Ok(())
    }

    /// Why this broker neither mints, renews nor reaps, and carries out no order, if so: another process has its place, or
    /// the store has become too new for it.
    pub(super) fn unfit(&self) -> Option<Arc<String>> {
        self.unfit.load_full()
    }

    /// Refuses what only a broker with a part in the store's work may do.
    ///
    /// # Errors
    /// [`Failure::Busy`]: another broker may do it.
    pub(super) fn must_be_fit(&self) -> Result<(), Failure> {
        match self.unfit() {
            None => Ok(()),
            Some(why) => Err(Failure::Busy { why: why.to_string(), limit: None, retry_after: COME_AGAIN }),
        }
    }

    /// The brokers of the store.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn brokers(&self, caller: &Caller, request: &RequestId) -> Result<Vec<Colleague>, Failure> {
        let rules = self.current().config.rules.clone();
        self.authorize(&rules, caller, request, Deed::on_broker(Action::Admin)).await?;
        let dead = before(self.store.clock().await?, DEAD_AFTER);
        let all = self.store.brokers().await?;
        Ok(all.into_iter().map(|known| Colleague { alive: known.seen_at >= dead, known }).collect())
    }
}

fn before(now: Timestamp, ago: Duration) -> Timestamp {
    let ms = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_unix_ms(now.unix_ms().saturating_sub(ms))
}
