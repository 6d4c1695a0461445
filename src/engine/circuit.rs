//! One target's circuit. It opens when the target is not reached, and then nothing is sent there any more but one probe at
//! a time, with growing, capped pauses: who asks is told at once, and a target that comes back is not met by all that waited.
//!
//! Failed calls alone never open it: a lock that somebody holds makes calls fail too. After some in a row the target is
//! asked which server it is, and only when that fails as well it counts as not reached.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use leasehold_sdk::{Engine, EngineError, clock, random};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::limits::Limits;
use crate::telemetry::metrics::Metrics;

/// Time for one probe.
const PROBE_MAX: Duration = Duration::from_secs(10);

/// Whether calls reach the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing was heard from it since the start, and too little went wrong to say that it is away.
    Untested,
    /// It answers.
    Closed,
    /// It is not reached: calls are refused here.
    Open,
    /// As open, while a probe is under way.
    HalfOpen,
}

impl State {
    /// Whether calls are refused.
    pub fn refuses(self) -> bool {
        matches!(self, Self::Open | Self::HalfOpen)
    }

    /// The word for it in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Untested => "untested",
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// When a circuit opens and how it probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    failures: u64,
    probe_first: Duration,
    probe_most: Duration,
}

impl Rule {
    pub(super) fn of(limits: &Limits) -> Self {
        Self {
            failures: limits.circuit_failures_max,
            probe_first: Duration::from_millis(limits.circuit_probe_milliseconds_min),
            probe_most: Duration::from_millis(limits.circuit_probe_milliseconds_max),
        }
    }

    /// The pause before probe `number`, counted from nought; spread by a fifth.
    fn pause(&self, number: u32) -> Duration {
        let grown = self.probe_first.saturating_mul(2u32.saturating_pow(number.min(20)));
        grown.min(self.probe_most).mul_f64(1.0 + random::fraction() / 5.0)
    }
}

/// The circuit of one target.
pub(super) struct Circuit {
    target: String,
    engine: Arc<dyn Engine>,
    rule: Rule,
    state: watch::Sender<State>,
    known: Mutex<Known>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Known {
    /// Calls that failed since one last succeeded.
    failures: u64,
    /// The target is being asked whether it is there.
    asking: bool,
    /// What the last call said, if it failed.
    trouble: Option<String>,
    /// Boot time of the next probe.
    next_probe: Duration,
}

impl Circuit {
    pub(super) fn new(target: &str, engine: &Arc<dyn Engine>, rule: Rule, metrics: Arc<Metrics>) -> Arc<Self> {
        metrics.circuit(target, State::Untested.as_str(), false, false);
        Arc::new(Self {
            target: target.to_owned(),
            engine: engine.clone(),
            rule,
            state: watch::Sender::new(State::Untested),
            known: Mutex::default(),
            metrics,
        })
    }

    /// By which rule it works.
    pub(super) fn rule(&self) -> Rule {
        self.rule
    }

    /// Its state, and every change.
    pub(super) fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// What the last call said, if it failed.
    pub(super) fn trouble(&self) -> Option<String> {
        let trouble = self.known().trouble.clone();
        trouble.map(|why| if self.state.borrow().refuses() { self.refusal(&why) } else { why })
    }

    /// Whether a call may be made.
    ///
    /// # Errors
    /// [`EngineError::Retry`] with the time to the next probe: nothing was sent.
    pub(super) fn admit(&self) -> Result<(), EngineError> {
        if !self.state.borrow().refuses() {
            return Ok(());
        }
        let known = self.known();
        let why = self.refusal(known.trouble.as_deref().unwrap_or("it does not answer"));
        let after = known.next_probe.saturating_sub(clock::boot()) + Duration::from_secs(1);
        match EngineError::retry(why) {
            EngineError::Retry { why, .. } => Err(EngineError::Retry { why, after: Some(after) }),
            other => Err(other),
        }
    }

    fn refusal(&self, why: &str) -> String {
        format!("target {:?} is not reached, and is asked again soon: {why}", self.target)
    }

    /// A call came back with the target's answer, be it a refusal.
    pub(super) fn answered(&self) {
        let had_trouble = {
            let mut known = self.known();
            known.failures = 0;
            known.trouble.take().is_some()
        };
        // An answer to a call from before it opened says nothing about now; the probe does.
        if self.state.borrow().refuses() {
            return;
        }
        if had_trouble {
            tracing::info!(target_name = %self.target, "target answers again");
        }
        self.become_now(State::Closed, "it answered");
    }

    /// A call failed for want of an answer, or because the target is busy.
    pub(super) fn failed(self: &Arc<Self>, why: String) {
        let (news, ask) = {
            let mut known = self.known();
            known.failures += 1;
            let ask = known.failures >= self.rule.failures && !known.asking && !self.state.borrow().refuses();
            known.asking |= ask;
            (known.trouble.replace(why.clone()).is_none(), ask)
        };
        if news {
            tracing::warn!(target_name = %self.target, %why, "target in trouble");
        }
        if ask {
            tokio::spawn(probe_until_reached(Arc::downgrade(self)));
        }
    }

    async fn probe(&self) -> Result<(), EngineError> {
        // A task of its own: a panic in an engine is a failed probe.
        let engine = self.engine.clone();
        let call = tokio::spawn(async move { timeout(PROBE_MAX, engine.fingerprint()).await });
        match call.await {
            Ok(Ok(Ok(_) | Err(EngineError::Refused { .. }))) => Ok(()),
            Ok(Ok(Err(e))) => Err(e),
            Ok(Err(_)) => Err(EngineError::retry(format!("no answer within {PROBE_MAX:?}"))),
            Err(_) => Err(EngineError::retry("the engine failed; its log has more")),
        }
    }

    fn reached(&self) {
        *self.known() = Known::default();
        self.become_now(State::Closed, "it answered");
    }

    fn not_reached(&self, why: &str, pause: Duration) {
        let mut known = self.known();
        (known.next_probe, known.trouble) = (clock::boot() + pause, Some(why.to_owned()));
        drop(known);
        self.become_now(State::Open, why);
    }

    fn become_now(&self, next: State, why: &str) {
        let mut from = next;
        self.state.send_if_modified(|state| {
            from = std::mem::replace(state, next);
            from != next
        });
        if from == next {
            return;
        }
        self.metrics.circuit(&self.target, next.as_str(), next.refuses(), true);
        match (from, next) {
            (State::Open | State::HalfOpen, State::Closed) => {
                tracing::info!(target_name = %self.target, "circuit closed: the target is reached again")
            }
            (State::Untested | State::Closed, State::Open) => {
                tracing::warn!(target_name = %self.target, %why,
                    "circuit open: the target is not reached; nothing but a probe is sent to it")
            }
            _ => tracing::debug!(target_name = %self.target, from = from.as_str(), to = next.as_str(), "circuit"),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // A panic while it was held leaves plain values behind: nothing to distrust.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the target whether it is there, again and again; ends when it is, or when nobody holds the circuit any more.
async fn probe_until_reached(circuit: Weak<Circuit>) {
    for number in 0.. {
        let Some(circuit_now) = circuit.upgrade() else { return };
        match circuit_now.probe().await {
            Ok(()) => return circuit_now.reached(),
            Err(e) => {
                let pause = circuit_now.rule.pause(number);
                circuit_now.not_reached(&e.to_string(), pause);
                drop(circuit_now);
                tokio::time::sleep(pause).await;
            }
        }
        let Some(circuit_now) = circuit.upgrade() else { return };
        circuit_now.become_now(State::HalfOpen, "");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_cap() {
        let mut limits = Limits::default();
        limits.set("circuit_probe_milliseconds_min", 100).unwrap();
        limits.set("circuit_probe_milliseconds_max", 1000).unwrap();
        let rule = Rule::of(&limits);
        for (number, ms) in [(0, 100), (1, 200), (3, 800), (4, 1000), (u32::MAX, 1000)] {
            let pause = rule.pause(number).as_millis();
            assert!((ms..ms + ms / 5 + 1).contains(&pause), "probe {number}: {pause} ms");
        }
    }
}
