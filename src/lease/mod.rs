//! The heart: mint, renew, revoke, reap, reconcile. The only code that changes a lease's state.
//!
//! [`Broker`] is all that the API sees. Each of its deeds decides first (default deny), puts the decision on record, and
//! only then acts.

mod admin;
pub mod ask;
mod authorize;
mod blocks;
mod changes;
mod clock;
mod counting;
mod custody;
mod cut;
mod error;
mod housekeeping;
mod lanes;
mod memory;
mod mint;
mod orders;
mod outage;
mod presence;
mod purge;
mod rates;
mod reaper;
mod reconciler;
mod reload;
mod renew;
mod restored;
mod revoke;
mod rooms;
mod survey;
mod takeover;
mod tasks;
mod tokens;
mod view;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use leasehold_sdk::{Credential, LeaseId, Timestamp};
use tokio::sync::{Mutex, oneshot};

pub use ask::{
    Decided, DecisionAsk, Forgotten, ManyAsk, Matching, MintAsk, OrderTaken, Page, Query, ReconcileAsk,
    ReconcileReport, RequestId, StrayOrder, Taken, TakeoverAsk, TargetReport,
};
pub use custody::{Rotated, admin_secrets};
pub use error::Failure;
pub use presence::{Colleague, DEAD_AFTER};
pub use reload::ReloadRefused;
pub use tokens::{TokenAsk, TokenRefused};

/// An order to end many leases, as it stands.
pub use crate::store::Order;
/// One signing key, for people.
pub use crate::token::KeyLine;

use crate::audit::{AuditLog, HandshakeGate};
use crate::config::Config;
use crate::domain::lease::Lease;
use crate::engine::Engines;
use crate::seal::KeyRing;
use crate::store::{Presence, Store};
use crate::telemetry::metrics::Metrics;
use crate::token::{Issuer, Keeper};
use blocks::Blocked;
use changes::Changes;
use clock::BrokerClock;
use custody::Custody;
use rates::Rates;
use survey::Surveys;
use tasks::Tasks;

/// How long whoever asks whether the broker is ready waits for the store: such a question is asked every second.
const PROBE_MAX: Duration = Duration::from_secs(1);

/// The broker, as the API sees it.
pub struct Broker {
    store: Arc<dyn Store>,
    audit: AuditLog,
    metrics: Arc<Metrics>,
    clock: BrokerClock,
    current: ArcSwap<Current>,
    /// Reloads happen one at a time.
    reloading: Mutex<()>,
    rates: Rates,
    changes: Changes,
    gate: HandshakeGate,
    surveys: Surveys,
    custody: Custody,
    issuer: Arc<Issuer>,
    /// Where there is a seal.
    keeper: Option<Keeper>,
    /// What this broker says of itself to the others.
    presence: Presence,
    /// Why this broker must leave the store alone, if it must.
    unfit: ArcSwapOption<String>,
    blocked: ArcSwap<Blocked>,
    /// Milliseconds of the boot-time clock.
    blocks_read_at: AtomicU64,
    tasks: Tasks,
    stopping: AtomicBool,
    /// Lines wait in the store because the log did not take them: they come first when it does again (law 2).
    audit_is_behind: AtomicBool,
    /// Refusals that were too many to be put on record one by one.
    refusals_counted: AtomicU64,
    /// Who the broker is, for the leases that it adopts.
    own_id: leasehold_identity::SpiffeId,
    /// The id of the audit chain: one per cluster and store.
    chain: String,
}

/// One generation of the configuration, with the engines made from it.
struct Current {
    config: Config,
    engines: Engines,
}

/// What a broker is made of.
pub struct Parts {
    /// The checked configuration.
    pub config: Config,
    /// The open store.
    pub store: Arc<dyn Store>,
    /// The open audit log.
    pub audit: AuditLog,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
    /// The keys that seal, where there are any.
    pub keys: Option<Arc<KeyRing>>,
    /// Whoever signs tokens.
    pub issuer: Arc<Issuer>,
    /// What this broker says of itself to others of the same store.
    pub presence: Presence,
    /// The broker's own SPIFFE ID.
    pub own_id: leasehold_identity::SpiffeId,
}

/// A credential for its caller, once.
pub struct Issued {
    /// Its lease, active; `None`: it has none, and nobody can end it.
    pub lease: Option<Lease>,
    /// When the credential ends unless its lease is renewed.
    pub expires_at: Timestamp,
    /// The credential.
    pub credential: Credential,
    /// To be told when the credential has reached its caller.
    pub delivery: Delivery,
}

/// Ends the lease at once unless it is told that the credential was delivered (law 1).
pub struct Delivery {
    armed: Option<(LeaseId, Arc<Broker>)>,
}

impl Delivery {
    /// The bytes have left for the caller: the lease lives on.
    pub fn delivered(mut self) {
        self.armed = None;
    }

    /// The lease it is about.
    pub fn lease(&self) -> Option<LeaseId> {
        self.armed.as_ref().map(|(id, _)| *id)
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some((id, broker)) = self.armed.take() {
            broker.clone().undelivered(id);
        }
    }
}

impl Broker {
    fn current(&self) -> Arc<Current> {
        self.current.load_full()
    }

    /// Runs a deed in a task of its own: a client that hangs up never stops it between two steps (law 1). A stop of the
    /// broker waits for it.
    async fn to_the_end<T: Send + 'static>(
        &self,
        deed: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Result<T, Failure> {
        let under_way = self.tasks.begin();
        let (answer, outcome) = oneshot::channel();
        tokio::spawn(async move {
            // Nobody there any more: what was issued is dropped here, and its delivery guard ends the lease.
            let _ = answer.send(deed.await);
            drop(under_way);
        });
        outcome.await.unwrap_or_else(|_| Err(Failure::failed_inside()))
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// A handshake was refused: audited at a bounded rate, counted beyond it.
    pub fn handshake_refused(&self, peer: std::net::SocketAddr, reason: &'static str, claimed: Option<String>) {
        self.refused_at_the_door(peer.to_string(), reason, claimed);
    }

    /// A process that is not root's came to the break-glass socket: on record like a refused handshake.
    pub fn break_glass_refused(&self, uid: u32, pid: Option<i32>) {
        let pid = pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string());
        self.refused_at_the_door(format!("break-glass socket: uid {uid}, pid {pid}"), "not_root", None);
    }

    fn refused_at_the_door(&self, peer: String, reason: &'static str, claimed: Option<String>) {
        self.metrics.handshake(Some(reason));
        if let Some(event) = self.gate.refused(&peer, reason, claimed.as_deref()) {
            tracing::info!(%peer, reason, claimed = claimed.as_deref(), "a TLS handshake was refused");
            let audit = self.audit.clone();
            tokio::spawn(async move {
                if let Err(e) = audit.write(event).await {
                    tracing::warn!(error = %e, "a refused handshake could not be put on record");
                }
            });
        }
    }

    /// The time by which certificates are judged: no step of the wall clock back makes an expired one good again.
    pub fn now(&self) -> Timestamp {
        self.clock.now().max(leasehold_sdk::clock::wall())
    }

    /// Whether the broker can do its work: for `/readyz`.
    pub async fn readiness(&self) -> Readiness {
        let mut problems = Vec::new();
        if let Err(why) = self.probe_store().await {
            problems.push(("store", why));
        }
        if !self.audit.writable() {
            problems.push(("audit", "a required sink takes no lines; the log has more".to_owned()));
        }
        if self.audit_is_behind.load(Ordering::Acquire) {
            problems.push(("audit", "lines that wait in the store are written first".to_owned()));
        }
        if let Some(why) = self.clock.trouble() {
            problems.push(("clock", why));
        }
        if let Some(why) = self.unfit() {
            problems.push(("broker", why.to_string()));
        }
        if self.is_stopping() {
            problems.push(("broker", "it is stopping".to_owned()));
        }
        let targets = self.current().engines.iter().map(|t| (t.name.clone(), t.trouble())).collect();
        Readiness { problems, targets }
    }

    /// Whether the store can be written now. Whoever probes is answered soon, whatever the store does; the probe itself goes
    /// on to its end.
    async fn probe_store(&self) -> Result<(), String> {
        let store = Arc::clone(&self.store);
        match tokio::time::timeout(PROBE_MAX, tokio::spawn(async move { store.probe().await })).await {
            Ok(Ok(probed)) => probed.map_err(|e| e.to_string()),
            Ok(Err(ended)) => Err(ended.to_string()),
            Err(_) => Err(format!("the store did not answer within {PROBE_MAX:?}")),
        }
    }
}

/// What `/readyz` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Readiness {
    /// What keeps the broker from being ready, by part (`store`, `audit`, `clock`): empty when it is.
    pub problems: Vec<(&'static str, String)>,
    /// Each target and, if it is not reached, why; never counts.
    pub targets: Vec<(String, Option<String>)>,
}
