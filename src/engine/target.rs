//! One target in force.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use leasehold_sdk::{
    ClusterName, Ending, Engine, EngineError, Fingerprint, Listing, Mark, MintOrder, Minted, RenewOrder, RevokeOrder,
    clock,
};
use parking::Slot;
use secrecy::SecretString;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::circuit::{Circuit, Rule, State};
use super::mints::{self, Waiting};
use super::turns::Entrance;
use crate::config::Target;
use crate::domain::role::Role;
use crate::limits::Limits;
use crate::telemetry::metrics::Metrics;

/// How long a role's vetting and a target's fingerprint hold: what they are about may be changed in the target at any time.
const VET_HOLDS: Duration = Duration::from_secs(60);

/// Time for a call that is neither a mint nor a revocation.
const CALL_MAX: Duration = Duration::from_secs(20);

/// One target: its engine behind a bounded queue, with deadlines round every call.
pub struct TargetHandle {
    /// Its name.
    pub name: String,
    /// Nothing is minted in it any more.
    pub retired: bool,
    engine: Arc<dyn Engine>,
    settings_hash: String,
    queue_max: u64,
    revoke_max: Duration,
    mints: Entrance<Waiting>,
    /// Requests that may be under way for it: those that wait and those that its lanes carry out.
    places: Arc<Semaphore>,
    vetted: Slot<HashMap<String, Vetted>>,
    /// Which target it is, until this boot time.
    identified: Slot<Option<(Fingerprint, Duration)>>,
    circuit: Arc<Circuit>,
    metrics: Arc<Metrics>,
}

#[derive(Clone)]
struct Vetted {
    settings: leasehold_sdk::RoleSettings,
    until: Duration,
    dangerous: Vec<String>,
}

/// A mint that did not come to be.
#[derive(Debug)]
pub enum MintRefusal {
    /// Too many wait for this target already.
    QueueFull,
    /// The engine's word.
    Engine(EngineError),
}

impl TargetHandle {
    pub(super) fn start(target: &Target, limits: &Limits, metrics: Arc<Metrics>) -> Arc<Self> {
        let queue = usize::try_from(limits.mints_waiting_per_target_max).unwrap_or(usize::MAX);
        let throughput = target.engine.throughput();
        let places = queue.saturating_add(throughput.mint_lanes.saturating_mul(throughput.mint_batch_max));
        let circuit = Circuit::new(&target.name, &target.engine, Rule::of(limits), metrics.clone());
        Arc::new(Self {
            name: target.name.clone(),
            retired: target.retired,
            engine: target.engine.clone(),
            settings_hash: target.settings_hash.clone(),
            queue_max: limits.mints_waiting_per_target_max,
            revoke_max: Duration::from_millis(limits.revoke_milliseconds_max),
            mints: mints::start_lanes(&target.engine, throughput, queue, &circuit),
            places: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))),
            vetted: Slot::default(),
            identified: Slot::default(),
            circuit,
            metrics,
        })
    }

    /// The same target as a broker of `cluster` would use it, to end what that left. Nothing is minted by it.
    ///
    /// # Errors
    /// As the engine says.
    pub fn as_cluster(&self, cluster: &ClusterName) -> Result<Arc<Self>, EngineError> {
        Ok(Arc::new(Self {
            name: self.name.clone(),
            retired: true,
            engine: self.engine.as_cluster(cluster)?,
            settings_hash: self.settings_hash.clone(),
            queue_max: self.queue_max,
            revoke_max: self.revoke_max,
            mints: self.mints.clone(),
            places: self.places.clone(),
            vetted: Slot::default(),
            identified: Slot::default(),
            circuit: self.circuit.clone(),
            metrics: self.metrics.clone(),
        }))
    }

    pub(super) fn is_for(&self, target: &Target, limits: &Limits) -> bool {
        self.settings_hash == target.settings_hash
            && self.retired == target.retired
            && self.queue_max == limits.mints_waiting_per_target_max
            && self.revoke_max == Duration::from_millis(limits.revoke_milliseconds_max)
            && self.circuit.rule() == Rule::of(limits)
    }

    /// The engine, for what is pure: plans.
    pub fn engine(&self) -> &dyn Engine {
        &*self.engine
    }

    /// How many revocations make a batch.
    pub fn revoke_batch_max(&self) -> usize {
        self.engine.throughput().revoke_batch_max.max(1)
    }

    /// How many batches of revocations may be under way at once.
    pub fn revoke_lanes(&self) -> usize {
        self.engine.throughput().revoke_lanes.max(1)
    }

    /// What the last call to the target said, if it was trouble.
    pub fn trouble(&self) -> Option<String> {
        self.circuit.trouble()
    }

    /// Whether calls reach it, and every change of that.
    pub fn circuit(&self) -> watch::Receiver<State> {
        self.circuit.watch()
    }

    /// A place for a request that will wait for this target, from its first question to its last: else a target that does
    /// not answer would fill the room that all requests share. To be held until the request is done.
    ///
    /// # Errors
    /// [`MintRefusal::QueueFull`]; [`MintRefusal::Engine`] while its circuit is open: nothing was sent.
    pub fn place(&self) -> Result<OwnedSemaphorePermit, MintRefusal> {
        self.admit().map_err(MintRefusal::Engine)?;
        self.places.clone().try_acquire_owned().map_err(|_| MintRefusal::QueueFull)
    }

    /// Refuses while its circuit is open: nothing was sent.
    ///
    /// # Errors
    /// [`EngineError::Retry`] with the time to wait.
    pub fn admit(&self) -> Result<(), EngineError> {
        self.circuit.admit()
    }

    /// Which target it is.
    ///
    /// # Errors
    /// As the engine says.
    pub async fn fingerprint(&self) -> Result<Fingerprint, EngineError> {
        self.bounded(CALL_MAX, self.engine.fingerprint()).await
    }

    /// Which target it is, for mints: asked once a minute, so that a mint waits for no revocation's session. Should it have
    /// become another meanwhile, the engine refuses a plan for the old one, and the next mint asks again.
    ///
    /// # Errors
    /// As the engine says.
    pub async fn fingerprint_known(&self) -> Result<Fingerprint, EngineError> {
        let now = clock::boot();
        if let Some((known, _)) = self.identified.get().filter(|(_, until)| *until > now) {
            return Ok(known);
        }
        let fingerprint = self.fingerprint().await?;
        self.identified.with(|known| *known = Some((fingerprint.clone(), now + VET_HOLDS)));
        Ok(fingerprint)
    }

    /// Whether `role` may be handed out as the target is now; the answer holds for a minute.
    ///
    /// # Errors
    /// As the engine says.
    pub async fn vet(&self, role: &Role) -> Result<Vec<String>, EngineError> {
        let now = clock::boot();
        let known = self.vetted.with(|all| all.get(&role.name).cloned());
        if let Some(v) = known.filter(|v| v.until > now && v.settings == role.settings) {
            return Ok(v.dangerous);
        }
        let dangerous = self.bounded(CALL_MAX, self.engine.vet(&role.settings)).await?;
        let vetted = Vetted { settings: role.settings.clone(), until: now + VET_HOLDS, dangerous: dangerous.clone() };
        self.vetted.with(|all| all.insert(role.name.clone(), vetted));
        Ok(dangerous)
    }

    /// Queues one mint of this identity and waits for its outcome.
    ///
    /// # Errors
    /// See [`MintRefusal`].
    pub async fn mint(&self, whose: &str, order: MintOrder, time_left: Duration) -> Result<Minted, MintRefusal> {
        let (answer, outcome) = oneshot::channel();
        let waiting = Waiting { order, give_up_at: clock::boot() + time_left, answer };
        self.mints.put(whose, waiting).map_err(|_| MintRefusal::QueueFull)?;
        let unknown = || Err(EngineError::unknown("the mint was lost on its way to the target"));
        let result = outcome.await.unwrap_or_else(|_| unknown());
        if result.is_err() {
            self.identified.with(|known| *known = None);
        }
        self.note(result.as_ref().err());
        result.map_err(MintRefusal::Engine)
    }

    /// Moves one expiry in the target.
    ///
    /// # Errors
    /// As the engine says.
    pub async fn renew(&self, order: RenewOrder) -> Result<(), EngineError> {
        let orders = [order];
        self.bounded(CALL_MAX, async {
            let none = || Err(EngineError::unknown("the engine gave no answer"));
            self.engine.renew(&orders).await.into_iter().next().unwrap_or_else(none)
        })
        .await
    }

    /// Ends a batch; one answer per order.
    pub async fn revoke(self: &Arc<Self>, orders: Vec<RevokeOrder>) -> Vec<Result<Ending, EngineError>> {
        let count = orders.len();
        if let Err(e) = self.admit() {
            return vec![Err(e); count];
        }
        let this = self.clone();
        // A task of its own, so that a panic in an engine is one failed try and not the end of the reaper.
        let call =
            tokio::spawn(async move { tokio::time::timeout(this.revoke_max, this.engine.revoke(&orders)).await });
        let mut results = match call.await {
            Ok(Ok(results)) => results,
            Ok(Err(_)) => vec![Err(EngineError::unknown("the target did not answer in time")); count],
            Err(_) => vec![Err(EngineError::unknown("the engine failed; its log has more")); count],
        };
        results.resize_with(count, || Err(EngineError::unknown("the engine gave no answer")));
        self.note(results.iter().find_map(|r| r.as_ref().err()));
        results
    }

    /// Gives the admin login another password.
    ///
    /// # Errors
    /// As the engine says.
    pub async fn set_admin_password(&self, next: &SecretString) -> Result<(), EngineError> {
        self.bounded(CALL_MAX, self.engine.set_admin_password(next)).await
    }

    /// One page of our accounts in the target.
    ///
    /// # Errors
    /// As the engine says.
    pub async fn list(&self, mark: &Mark, after: Option<&str>, limit: usize) -> Result<Listing, EngineError> {
        self.bounded(CALL_MAX, self.engine.list(mark, after, limit)).await
    }

    async fn bounded<T>(
        &self,
        max: Duration,
        call: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        self.admit()?;
        let result = tokio::time::timeout(max, call)
            .await
            .unwrap_or_else(|_| Err(EngineError::unknown("the target did not answer in time")));
        self.note(result.as_ref().err());
        result
    }

    /// A refusal is an answer: the target is there.
    fn note(&self, error: Option<&EngineError>) {
        let answers = matches!(error, None | Some(EngineError::Refused { .. }));
        self.metrics.target_answers(&self.name, answers);
        match error {
            Some(e) if !answers => self.circuit.failed(e.to_string()),
            _ => self.circuit.answered(),
        }
    }
}

/// A value behind a lock that is never held across an await.
mod parking {
    use std::sync::{Mutex, PoisonError};

    #[derive(Default)]
    pub(super) struct Slot<T>(Mutex<T>);

    impl<T> Slot<T> {
        pub(super) fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
            // A panic while it was held leaves a plain value behind: nothing to distrust.
            f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
        }

        pub(super) fn get(&self) -> T
        where
            T: Clone,
        {
            self.with(|t| t.clone())
        }
    }
}
