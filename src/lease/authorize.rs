//! Decide, and put the decision on record before anything is done (law 2).

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use leasehold_identity::SpiffeId;
use leasehold_sdk::{LeaseId, random};

use super::{Broker, Failure, RequestId};
use crate::audit::Event;
use crate::domain::caller::Caller;
use crate::domain::grant::Action;
use crate::policy::{self, Decision, Denial, Question, Rules};
use crate::store::{OutboxEntry, StoreError};

/// A decision that allowed something, on record. Only [`Broker::authorize`] makes one.
#[derive(Debug)]
pub(super) struct Permit {
    /// The audit log has it too.
    pub decision_id: String,
    /// What stands in the caller's identity where the pattern of its grant has names.
    pub captured: BTreeMap<String, String>,
}

/// What a caller wants to do.
pub(super) struct Deed<'a> {
    pub action: Action,
    pub role: Option<&'a str>,
    pub lease: Option<LeaseId>,
    pub params: &'a BTreeMap<String, String>,
    /// For an exchange: on whose behalf.
    pub subject: Option<&'a SpiffeId>,
    /// Rights that the role has and should not be handed out unnoticed.
    pub dangerous: Vec<String>,
    /// The lease is the caller's own: reading and revoking it needs no grant.
    pub own: bool,
}

impl<'a> Deed<'a> {
    pub(super) fn on_role(action: Action, role: &'a str, params: &'a BTreeMap<String, String>) -> Self {
        Self { action, role: Some(role), lease: None, params, subject: None, dangerous: Vec::new(), own: false }
    }

    /// What concerns the broker as a whole.
    pub(super) fn on_broker(action: Action) -> Self {
        Self { action, role: None, lease: None, params: no_params(), subject: None, dangerous: Vec::new(), own: false }
    }
}

/// For deeds that take no params.
pub(super) fn no_params() -> &'static BTreeMap<String, String> {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    &NONE
}

pub(super) fn new_decision_id() -> String {
    format!("d-{}", data_encoding::HEXLOWER.encode(&random::bytes::<10>()))
}

impl Broker {
    /// The bare answer, for looking before leaping; nothing is put on record.
    pub(super) fn would(&self, rules: &Rules, caller: &Caller, deed: &Deed<'_>) -> Decision {
        if deed.own {
            return Decision::Allowed { grant: String::new(), captured: BTreeMap::new() };
        }
        policy::decide(
            rules,
            Question {
                identity: &caller.id,
                action: deed.action,
                role: deed.role,
                params: deed.params,
                subject: deed.subject,
                break_glass: caller.break_glass().is_some(),
            },
        )
    }

    /// Decides and waits until the decision is on record.
    ///
    /// # Errors
    /// [`Failure::Denied`]; [`Failure::Limit`] in its place when this caller is denied too often for the audit log to hear of
    /// it each time; [`Failure::AuditAway`] when something allowed could not be recorded.
    pub(super) async fn authorize(
        &self,
        rules: &Rules,
        caller: &Caller,
        request: &RequestId,
        deed: Deed<'_>,
    ) -> Result<Permit, Failure> {
        let decision = self.would(rules, caller, &deed);
        if !decision.allowed()
            && let Err(too_often) = self.rates.refusal(caller.id.as_str())
        {
            self.refusals_counted.fetch_add(1, Ordering::Relaxed);
            return Err(too_often);
        }
        let Decided { decision_id, reason, event } = self.describe(&decision, caller, request, deed);
        let written = match self.audit_is_behind.load(Ordering::Acquire) {
            // Lines of endings were there first.
            true if reason.is_none() => {
                let why = "lines that wait in the store are written first".to_owned();
                return Err(Failure::AuditAway { why });
            }
            _ => self.audit.write(event).await,
        };
        match reason {
            // A refusal stands whether or not it could be recorded.
            Some(reason) => Err(Failure::Denied { decision_id, reason }),
            None => written.map(|()| Permit { decision_id, captured: captured(decision) }).map_err(Failure::from),
        }
    }

    /// Decides on an end. Ending never waits for audit (law 2): the line that permits it is kept in the store, durably and
    /// before the end, and written from there.
    ///
    /// # Errors
    /// [`Failure::Denied`] and [`Failure::Limit`] as for [`Broker::authorize`]; [`Failure::StoreAway`].
    pub(super) async fn authorize_end(
        &self,
        rules: &Rules,
        caller: &Caller,
        request: &RequestId,
        deed: Deed<'_>,
    ) -> Result<Permit, Failure> {
        let decision = self.would(rules, caller, &deed);
        if !decision.allowed() {
            return self.authorize(rules, caller, request, deed).await;
        }
        let Decided { decision_id, event, .. } = self.describe(&decision, caller, request, deed);
        self.keep_for_audit(&event).await?;
        Ok(Permit { decision_id, captured: captured(decision) })
    }

    /// A call that the break-glass socket is not for: it is refused, on record.
    pub async fn not_on_break_glass(&self, caller: &Caller, request: &RequestId, call: &str) -> Failure {
        let decision = Decision::Denied(Denial::BreakGlass { what: call.to_owned() });
        let deed = Deed::on_broker(Action::Admin);
        let Decided { decision_id, reason, event } = self.describe(&decision, caller, request, deed);
        if let Err(e) = self.audit.write(event).await {
            tracing::error!(error = %e, call, "a refusal on the break-glass socket could not be put on record");
        }
        Failure::Denied { decision_id, reason: reason.unwrap_or_default() }
    }

    /// Puts a line into the store, from where it goes to the log.
    pub(super) async fn keep_for_audit(&self, event: &Event) -> Result<(), StoreError> {
        if let Ok(serde_json::Value::Object(event)) = serde_json::to_value(event) {
            self.store.outbox_add(self.clock.now(), &OutboxEntry::Event(event)).await?;
            self.changes.outbox.notify_one();
        }
        Ok(())
    }

    pub(super) fn describe(
        &self,
        decision: &Decision,
        caller: &Caller,
        request: &RequestId,
        deed: Deed<'_>,
    ) -> Decided {
        self.metrics.decision(deed.action.as_str(), decision.allowed());
        let (grant, reason) = match decision {
            Decision::Allowed { grant, .. } => (Some(grant.clone()).filter(|g| !g.is_empty()), None),
            Decision::BreakGlass => (None, None),
            Decision::Denied(why) => (None, Some(why.to_string())),
        };
        let decision_id = new_decision_id();
        let event = Event::Decision {
            decision_id: decision_id.clone(),
            request_id: request.0.clone(),
            identity: caller.id.to_string(),
            cert_sha256: caller.cert_sha256().map(str::to_owned),
            break_glass: caller.break_glass().cloned(),
            action: deed.action.to_string(),
            role: deed.role.map(|role| policy::cut(role).into_owned()),
            lease: deed.lease,
            params: deed.params.clone(),
            subject: deed.subject.map(ToString::to_string),
            allowed: decision.allowed(),
            grant,
            reason: reason.clone(),
            dangerous: deed.dangerous,
        };
        Decided { decision_id, reason, event }
    }
}

fn captured(decision: Decision) -> BTreeMap<String, String> {
    match decision {
        Decision::Allowed { captured, .. } => captured,
        Decision::BreakGlass | Decision::Denied(_) => BTreeMap::new(),
    }
}

/// A decision and its line.
pub(super) struct Decided {
    pub decision_id: String,
    /// Why not, if not.
    pub reason: Option<String>,
    pub event: Event,
}
