//! What is put on record.

use std::collections::BTreeMap;

use leasehold_sdk::{LeaseId, Timestamp};
use serde::Serialize;

use crate::domain::caller::BreakGlass;
use crate::store::{AuditHead, LeaseChange};

/// One thing that happened. Serialised as the line's own part; the log adds time, number, hashes, config hash and broker.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A question was decided, yes or no; before anything is done (law 2).
    Decision {
        /// Told to the caller too.
        decision_id: String,
        /// The request it belongs to.
        request_id: String,
        /// Who asked.
        identity: String,
        /// SHA-256 of the certificate that proved it; none over the break-glass socket.
        #[serde(skip_serializing_if = "Option::is_none")]
        cert_sha256: Option<String>,
        /// Who used the break-glass socket and why, if that is how it was asked.
        #[serde(skip_serializing_if = "Option::is_none")]
        break_glass: Option<BreakGlass>,
        /// For what.
        action: String,
        /// On which role, if on one.
        role: Option<String>,
        /// On which lease, if on one.
        lease: Option<LeaseId>,
        /// The params passed.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        params: BTreeMap<String, String>,
        /// For an exchange: on whose behalf.
        #[serde(skip_serializing_if = "Option::is_none")]
        subject: Option<String>,
        /// The answer.
        allowed: bool,
        /// The grant that allowed it.
        grant: Option<String>,
        /// Why not.
        reason: Option<String>,
        /// Rights of the role that are dangerous and were explicitly allowed.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        dangerous: Vec<String>,
    },
    /// Somebody asked what would be allowed, and was answered. Nothing was done.
    Question {
        /// Told to the caller too.
        decision_id: String,
        /// The request it belongs to.
        request_id: String,
        /// Who asked.
        identity: String,
        /// SHA-256 of the certificate that proved it; none over the break-glass socket.
        #[serde(skip_serializing_if = "Option::is_none")]
        cert_sha256: Option<String>,
        /// Who used the break-glass socket and why, if that is how it was asked.
        #[serde(skip_serializing_if = "Option::is_none")]
        break_glass: Option<BreakGlass>,
        /// Who would do it.
        about: String,
        /// Doing what.
        action: String,
        /// On which role.
        role: String,
        /// With which params.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        params: BTreeMap<String, String>,
        /// For an exchange: on whose behalf.
        #[serde(skip_serializing_if = "Option::is_none")]
        subject: Option<String>,
        /// The answer.
        allowed: bool,
        /// The grant that would allow it.
        grant: Option<String>,
        /// Why not.
        reason: Option<String>,
    },
    /// A lease changed: minted, renewed, being ended, ended.
    Lease {
        /// What changed.
        #[serde(flatten)]
        change: LeaseChange,
        /// When it changed, where the line is written later.
        changed_at: Timestamp,
        /// Its end, where that is what changed.
        #[serde(skip_serializing_if = "Option::is_none")]
        expires_at: Option<Timestamp>,
        /// Number of the store's outbox line it came from: a line that stands twice after a crash has the same number.
        #[serde(skip_serializing_if = "Option::is_none")]
        outbox: Option<i64>,
    },
    /// A TLS handshake was refused.
    HandshakeRefused {
        /// Address and port of the other side.
        peer: String,
        /// A short code.
        reason: String,
        /// The identity that the certificate claimed; not verified.
        claimed: Option<String>,
    },
    /// Handshakes refused beyond the audited rate.
    HandshakesRefused {
        /// How many, by reason, since the last such line.
        counts: BTreeMap<String, u64>,
    },
    /// Refusals for want of a grant beyond the audited rate.
    RefusalsCounted {
        /// How many, of all identities together, since the last such line.
        count: u64,
    },
    /// An operator's deed that is no lease's: reconcile, forget, revoke in bulk.
    Operation {
        /// Which.
        operation: String,
        /// The decision that allowed it.
        decision_id: String,
        /// On what and with what result.
        detail: serde_json::Value,
    },
    /// An account of ours without a live lease was found.
    Stray {
        /// Where.
        target: String,
        /// Its name.
        account: String,
        /// What was done: `revoked`, `held`, `adopted`, `renewed`, `taken_over`, `failed`.
        done: String,
        /// Why.
        note: Option<String>,
    },
    /// The broker started, reloaded its configuration, or stops.
    Broker {
        /// `started`, `reloaded`, `reload_refused`, `clock_accepted`, `signs_from_here`, `stopping`.
        what: String,
        /// More.
        note: Option<String>,
    },
    /// A torn last line, left by a crash, was cut off.
    Mended {
        /// The file.
        sink: String,
        /// How many bytes.
        cut_bytes: u64,
        /// Their SHA-256, in hex.
        cut_sha256: String,
    },
    /// At start a file did not end where the chain should: lines are missing from it, or others stand there. The chain goes on
    /// from the later of the two, so that no number is used twice; what is missing stays missing, and verifying says so.
    ChainBroken {
        /// The file.
        sink: String,
        /// The line that should be there, by the store or by another file of the same log.
        expected: AuditHead,
        /// What was found instead: the file's last line, or the line of that number; `None`: the file is absent or empty.
        found: Option<AuditHead>,
        /// What else is wrong, where the line itself is the one that should be there.
        #[serde(skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// Signs the line before it, and with it all that came before: see docs/audit.md for the text that is signed.
    Checkpoint {
        /// That line.
        covers: AuditHead,
        /// The name of the key; none where the broker has none.
        key: Option<String>,
        /// The signature, in base64.
        signature: Option<String>,
    },
    /// A sink lost lines: it took none for so long that there was no more room for what waited for it, or the broker ended before
    /// it took them and no file has them any more.
    LinesLost {
        /// Which.
        sink: String,
        /// How many.
        lines: u64,
        /// The number of the first.
        first_seq: u64,
        /// The number of the last.
        last_seq: u64,
        /// When the first was lost.
        since: Timestamp,
    },
    /// The log can be written again, after lines were refused (and with them what they were for).
    AuditResumed {
        /// How many lines were refused.
        refused_lines: u64,
        /// Since when.
        since: Timestamp,
    },
    /// An event that waited in the store, with its own JSON.
    #[serde(untagged)]
    Kept(serde_json::Map<String, serde_json::Value>),
}
