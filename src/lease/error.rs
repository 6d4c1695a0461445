//! Why the broker did not do what it was asked: one kind for each answer that a caller can act on.

use std::time::Duration;

use crate::domain::lease::State;

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// 403: no grant, or no such role: the same words.
    #[error("{reason}")]
    Denied {
        /// The audit log has it too.
        decision_id: String,
        /// What is missing.
        reason: String,
    },
    /// 404: no such lease or target, or not visible to this caller.
    #[error("there is no such lease, or it is not visible to you")]
    NotFound,
    /// 400: something asked for is out of range or does not fit.
    #[error("{what}: {why}")]
    Bad {
        /// Which part of the request.
        what: String,
        /// Why.
        why: String,
    },
    /// 409: the lease is in a state in which this cannot be done.
    #[error("the lease is {}: {why}", state.as_str())]
    WrongState {
        /// Its state.
        state: State,
        /// What cannot be done then.
        why: String,
    },
    /// 409: a bulk order that does not say how many it expects, or says another number than matched.
    #[error("{matched} leases match: {why}")]
    NotAsExpected {
        /// How many matched.
        matched: u64,
        /// What to do.
        why: String,
    },
    /// 409: a cluster that is to be taken over is at work.
    #[error("{why}")]
    StillAlive {
        /// How it is known, and what to do.
        why: String,
    },
    /// 429: a limit was reached.
    #[error("the limit {limit} = {value} is reached: {why}")]
    Limit {
        /// Its name in `[limits]`.
        limit: &'static str,
        /// Its value.
        value: u64,
        /// What to do.
        why: String,
        /// When it may work again.
        retry_after: Duration,
    },
    /// 503: the broker has too much to do, or is stopping.
    #[error("the broker is busy: {why}")]
    Busy {
        /// Which queue is full.
        why: String,
        /// The limit that it has reached, if that is why.
        limit: Option<&'static str>,
        /// When to come again.
        retry_after: Duration,
    },
    /// 503: the target did not do it now and may later.
    #[error("target {target:?} is not available: {why}")]
    TargetAway {
        /// Which.
        target: String,
        /// What it said, cut and escaped.
        why: String,
        /// When to come again.
        retry_after: Duration,
    },
    /// 502: the target refused, and will until something is changed there.
    #[error("target {target:?} refused: {why}")]
    TargetRefused {
        /// Which.
        target: String,
        /// What it said, cut and escaped.
        why: String,
    },
    /// 503: the store cannot be written or read.
    #[error("the store is not available: {why}")]
    StoreAway {
        /// Why.
        why: String,
    },
    /// 503: the audit log takes no line, so nothing is handed out.
    #[error("the audit log takes no lines, and nothing is handed out without: {why}")]
    AuditAway {
        /// Why.
        why: String,
    },
    /// 503: the clock is not to be trusted, so nothing is minted.
    #[error("the clock is off: {why}")]
    ClockOff {
        /// How.
        why: String,
    },
}

impl Failure {
    /// A deed that panicked.
    pub(super) fn failed_inside() -> Self {
        Self::Busy {
            why: "the request failed inside; the log has more".into(),
            limit: None,
            retry_after: Duration::from_secs(5),
        }
    }

    /// A short word for metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Denied { .. } => "denied",
            Self::NotFound => "not_found",
            Self::Bad { .. } => "bad",
            Self::WrongState { .. } => "wrong_state",
            Self::NotAsExpected { .. } => "not_as_expected",
            Self::StillAlive { .. } => "still_alive",
            Self::Limit { .. } => "limit",
            Self::Busy { .. } => "busy",
            Self::TargetAway { .. } => "target_away",
            Self::TargetRefused { .. } => "target_refused",
            Self::StoreAway { .. } => "store_away",
            Self::AuditAway { .. } => "audit_away",
            Self::ClockOff { .. } => "clock_off",
        }
    }
}

impl From<crate::store::StoreError> for Failure {
    fn from(e: crate::store::StoreError) -> Self {
        Self::StoreAway { why: e.to_string() }
    }
}

impl From<crate::audit::AuditError> for Failure {
    fn from(e: crate::audit::AuditError) -> Self {
        Self::AuditAway { why: e.to_string() }
    }
}
