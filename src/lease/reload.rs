//! Start, reload and stop of the broker's loops.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use leasehold_sdk::{EngineError, clock};
use tokio::sync::Mutex;

use super::changes::Changes;
use super::clock::{self as broker_clock, BrokerClock};
use super::custody::Custody;
use super::rates::Rates;
use super::survey::Surveys;
use super::tasks::Tasks;
use super::{
    Broker, Current, Parts, counting, housekeeping, memory, orders, outage, purge, reaper, reconciler, tokens,
};
use crate::audit::{Event, HandshakeGate};
use crate::config::{self, Config, ConfigError, Remembered};
use crate::domain::role::Role;
use crate::engine::Engines;
use crate::store::{Filter, Store, StoreError, Turn};
use crate::token::Keeper;

/// How long a start waits for a target's word on its roles: a target that is down is no reason not to start.
const VET_AT_START: Duration = Duration::from_secs(5);

/// How long a stop waits for the audit log's sinks.
const AUDIT_CLOSE: Duration = Duration::from_secs(3);

/// The name of the loops that are no target's. No target is called so.
const HOUSEKEEPING: &str = " housekeeping";

/// Why a new configuration was not taken; the running one is kept.
#[derive(Debug, thiserror::Error)]
pub enum ReloadRefused {
    /// It would leave leases behind, changes what needs a restart, or has a role that is too strong in its target or names what
    /// is not there.
    #[error("{0}")]
    Config(config::ConfigErrors),
    /// The leases could not be counted.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the targets are could not be kept for the next start.
    #[error("{}: {why}", file.display())]
    Memory {
        /// Where it is kept.
        file: std::path::PathBuf,
        /// Why not.
        why: std::io::Error,
    },
}

impl Broker {
    /// A broker from its parts. Its loops start with [`Broker::start`].
    ///
    /// # Errors
    /// When the store cannot be read, or the configuration does not fit the leases in it.
    pub async fn new(parts: Parts) -> Result<Arc<Self>, ReloadRefused> {
        let Parts { config, store, audit, metrics, keys, issuer, presence, own_id } = parts;
        let known = memory::recall(&config, &store.live_targets().await?);
        refuse_orphans(&*store, &known, &config).await?;
        memory::keep(&config)?;
        let (clock, jump) = BrokerClock::start(&*store).await?;
        // Judged before anything can be minted or ended by it, not only in the first round.
        clock.compare(&*store, &config.limits).await?;
        if let Some(why) = clock.trouble() {
            tracing::error!(why = %why, "the clock is off: nothing is minted or reaped");
        }
        let (due, alive) = match broker_clock::is_jump(jump) {
            true => store.due_and_live(clock.now()).await?,
            false => (0, 0),
        };
        if clock.judge_jump(jump, due, alive, &config.limits) {
            tracing::error!(
                due,
                alive,
                jump_seconds = jump.as_secs(),
                hold_seconds = config.limits.sweep_hold_seconds,
                "the clock is far ahead of the last run and an unusual share of all leases would end at once: \
                 the sweep is held; if the clock is wrong, set it right and restart now"
            );
        }
        let engines = Engines::of(&config, &Engines::default(), &metrics);
        let recovery = config.seal.as_ref().and_then(|seal| seal.recovery.clone());
        let cluster = config.broker.cluster.to_string();
        let keeper = keys.clone().map(|ring| Keeper::new(issuer.clone(), store.clone(), ring, cluster));
        let broker = Arc::new(Self {
            issuer,
            keeper,
            custody: Custody::new(keys, recovery, &config.broker.data_dir),
            rates: Rates::new(&config.limits),
            gate: HandshakeGate::new(config.limits.refused_handshakes_audited_per_minute),
            current: ArcSwap::from_pointee(Current { config, engines }),
            reloading: Mutex::new(()),
            changes: Changes::new(),
            surveys: Surveys::new(store.newest_lease().await?, store.holds().await?),
            tasks: Tasks::new(),
            stopping: AtomicBool::new(false),
            audit_is_behind: AtomicBool::new(false),
            refusals_counted: AtomicU64::new(0),
            store,
            audit,
            metrics,
            clock,
            chain: presence.chain.clone(),
            presence,
            unfit: ArcSwapOption::empty(),
            blocked: ArcSwap::default(),
            blocks_read_at: AtomicU64::new(0),
            own_id,
        });
        // Before the first connection: the configured password may be one of long ago.
        broker.keep_admin_secrets().await?;
        broker.keep_token_keys().await;
        broker.arrive().await?;
        broker.read_blocks().await?;
        Ok(broker)
    }

    /// Tells of roles that their targets say are too strong. They are refused at each mint; what one target says keeps
    /// no other's leases from ending.
    pub async fn vet_roles(&self) {
        let current = self.current();
        for refused in vet(&current.config, &current.engines, |_| true).await {
            tracing::error!(error = %refused, "nothing of this role is minted");
        }
    }

    /// Starts the loops.
    pub async fn start(self: &Arc<Self>) {
        self.tasks.start(HOUSEKEEPING, |stop| {
            vec![
                tokio::spawn(housekeeping::rounds(self.clone(), stop.clone())),
                tokio::spawn(housekeeping::outbox(self.clone(), stop.clone())),
                tokio::spawn(orders::run(self.clone(), stop.clone())),
                tokio::spawn(counting::run(self.clone(), stop.clone())),
                tokio::spawn(purge::run(self.clone(), stop.clone())),
                tokio::spawn(self.clone().keep_reading_blocks(stop.clone())),
                tokio::spawn(tokens::keys::run(self.clone(), stop.clone())),
                tokio::spawn(housekeeping::refused_handshakes(self.clone(), stop.clone())),
                tokio::spawn(housekeeping::refusals(self.clone(), stop.clone())),
            ]
        });
        let current = self.current();
        self.metrics.config_loaded(clock::wall());
        self.metrics.show_limits(&current.config.limits);
        for target in current.engines.iter() {
            self.start_loops(target);
        }
        self.tell_broker("started", None).await;
    }

    fn start_loops(self: &Arc<Self>, target: &Arc<crate::engine::TargetHandle>) {
        self.tasks.start(&target.name, |stop| {
            vec![
                tokio::spawn(reaper::run(self.clone(), target.clone(), Turn::First, stop.clone())),
                tokio::spawn(reaper::run(self.clone(), target.clone(), Turn::Again, stop.clone())),
                tokio::spawn(reconciler::run(self.clone(), target.clone(), stop.clone())),
                tokio::spawn(outage::run(self.clone(), target.clone(), stop.clone())),
            ]
        });
    }

    /// Takes a new configuration whole, or refuses it whole.
    ///
    /// # Errors
    /// See [`ReloadRefused`]; the running configuration is then kept.
    pub async fn reload(self: &Arc<Self>, config: Config) -> Result<(), ReloadRefused> {
        let _one_at_a_time = self.reloading.lock().await;
        let old = self.current();
        let result = self.try_reload(&old, config).await;
        match &result {
            Ok(()) => self.tell_broker("reloaded", None).await,
            Err(e) => {
                self.metrics.config_reload_failures.inc();
                self.tell_broker("reload_refused", Some(e.to_string())).await;
            }
        }
        result
    }

    async fn try_reload(self: &Arc<Self>, old: &Current, config: Config) -> Result<(), ReloadRefused> {
        config::needs_restart(&old.config, &config).map_err(ReloadRefused::Config)?;
        let known = Remembered::of(&old.config).and_names(&self.store.live_targets().await?);
        refuse_orphans(&*self.store, &known, &config).await?;
        let engines = Engines::of(&config, &old.engines, &self.metrics);
        // A target whose settings changed has a new engine, which knows nothing yet.
        self.keep_secrets_in(&engines).await?;
        if let Some(refused) =
            vet(&config, &engines, |role| is_new(role, &old.config, &config)).await.into_iter().next()
        {
            return Err(ReloadRefused::Config(refused.into()));
        }
        self.audit.set_config_hash(config.hash.clone());
        memory::keep(&config)?;
        self.rates.set(&config.limits);
        self.metrics.config_loaded(clock::wall());
        self.metrics.show_limits(&config.limits);
        self.current.store(Arc::new(Current { config, engines: engines.clone() }));
        for target in engines.iter() {
            if !old.engines.get(&target.name).is_some_and(|known| Arc::ptr_eq(known, target)) {
                self.start_loops(target);
            }
        }
        Ok(())
    }

    /// Ends the loops of targets that are no longer in the file, once nothing can need them any more: a mint that was under
    /// way when its target went may still have recorded a lease.
    pub(super) async fn end_idle_loops(&self) -> Result<(), StoreError> {
        let engines = self.current().engines.clone();
        let gone = |name: &String| name != HOUSEKEEPING && engines.get(name).is_none();
        let gone: Vec<String> = self.tasks.names().into_iter().filter(gone).collect();
        if gone.is_empty() || self.tasks.under_way() > 0 {
            return Ok(());
        }
        let live = self.store.live_targets().await?;
        gone.iter().filter(|name| !live.contains(*name)).for_each(|name| self.tasks.end(name));
        Ok(())
    }

    /// Answers everybody who waits for a lease to change. Before the API finishes what is under way: it would wait for them, and whoever
    /// starts the broker again would wait for it.
    pub fn end_waiting(&self) {
        self.changes.end_waiting();
    }

    /// Stops: nothing new is begun, what is under way is finished, the log is closed.
    pub async fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.tell_broker("stopping", None).await;
        // The API has had the first half of the time.
        let max = Duration::from_millis(self.current().config.limits.shutdown_milliseconds_max) / 2;
        self.tasks.stop(max).await;
        self.gate.write_counted(&self.audit).await;
        match tokio::time::timeout(AUDIT_CLOSE, self.audit.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => tracing::error!(error = %e, "the audit log could not be closed cleanly"),
            Err(_) => tracing::error!("the audit log could not be closed in time"),
        }
        let _ = self.keep_audit_head().await;
        // What is left of its work is another's at once.
        let _ = self.store.leave().await;
    }

    async fn tell_broker(&self, what: &str, note: Option<String>) {
        let event = Event::Broker { what: what.to_owned(), note };
        if let Err(e) = self.audit.write(event).await {
            tracing::error!(error = %e, what, "could not be put on record");
        }
    }
}

/// Refuses a configuration that would leave leases behind. Only where that is in question are leases counted.
async fn refuse_orphans(store: &dyn Store, known: &Remembered, next: &Config) -> Result<(), ReloadRefused> {
    let changes = config::changes(known, next);
    let mut unended = BTreeMap::new();
    for target in changes.targets.keys() {
        let of_target = Filter { target: Some(target.clone()), ..Filter::default() };
        unended.insert(target.clone(), store.count_live(&of_target).await?);
    }
    changes.refuse_orphans(next, &unended).map_err(ReloadRefused::Config)
}

/// Whether a role, or where it points, is not as it was: one that is cannot keep a new configuration from coming into force.
fn is_new(role: &Role, old: &Config, new: &Config) -> bool {
    let target_of = |config: &Config| config.targets.get(&role.target).map(|target| target.settings_hash.clone());
    target_of(old) != target_of(new)
        || old.rules.roles.get(&role.name).is_none_or(|known| known.settings != role.settings)
}

/// Asks every target at once what it thinks of these of its roles. Answers those that it refuses, with their lines; targets that
/// do not answer are asked again before a mint.
async fn vet(config: &Config, engines: &Engines, which: impl Fn(&Role) -> bool) -> Vec<ConfigError> {
    let asked = config.rules.roles.values().filter(|role| which(role)).filter_map(|role| {
        let target = engines.get(&role.target).filter(|t| !t.retired)?;
        Some(async move { (role, tokio::time::timeout(VET_AT_START, target.vet(role)).await) })
    });
    let mut refused = Vec::new();
    for (role, answer) in futures_util::future::join_all(asked).await {
        match answer {
            Ok(Err(EngineError::Refused { why })) => {
                refused.push(config.error(&format!("roles.{}", role.name), why.as_str()));
            }
            Ok(Err(e)) => {
                tracing::warn!(role = %role.name, why = %e, "the role could not be checked in its target yet")
            }
            Err(_) => tracing::warn!(role = %role.name, "the role could not be checked in its target yet: no answer"),
            Ok(Ok(_)) => {}
        }
    }
    refused
}
