//! What can go wrong in a call, by who is at fault.

use std::time::Duration;

use leasehold_identity::{HandshakeError, IdError, IdentityError};

use crate::wire::{CredentialError, Problem};

/// Why a call failed. Never holds a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The broker said no, and why.
    #[error("{}", said(.0))]
    Problem(Box<Problem>),
    /// The broker cannot be reached, or the connection broke; whether it did what was asked is then unknown.
    #[error("cannot reach the broker at {addr}: {why}")]
    Unreachable {
        /// Where it was looked for.
        addr: String,
        /// What the system said.
        why: String,
    },
    /// It took too long; whether the broker did what was asked is unknown.
    #[error("the broker at {addr} did not answer within {after:?}")]
    TimedOut {
        /// Where it is.
        addr: String,
        /// After which time the call was given up.
        after: Duration,
    },
    /// The server is not the broker that was expected, or does not speak our TLS.
    #[error("the server at {addr} is not the expected broker {broker}: {refusal}")]
    Tls {
        /// Where it is.
        addr: String,
        /// The SPIFFE ID that it should have shown.
        broker: String,
        /// Why it was refused.
        refusal: Box<HandshakeError>,
    },
    /// The broker refused our certificate.
    #[error("the broker at {addr} refused the certificate of {spiffe_id}: {why}")]
    Refused {
        /// Where it is.
        addr: String,
        /// Who we are.
        spiffe_id: String,
        /// The TLS alert it sent. TLS lets it say no more; the broker's log and audit have the reason.
        why: String,
    },
    /// What came back is not what the API promises.
    #[error("the answer of the broker at {addr} to {call} is not what the API promises: {why}")]
    Protocol {
        /// Where it is.
        addr: String,
        /// Method and path of the call.
        call: String,
        /// What is wrong with it.
        why: String,
    },
    /// The broker issued a credential that this version cannot take.
    #[error("the broker issued {wrong} (lease {lease}, which ends by itself)")]
    Credential {
        /// The lease it is under.
        lease: String,
        /// What is wrong with it.
        wrong: CredentialError,
    },
    /// The first credential could not be fetched yet; it goes on being tried.
    #[error("no credential of the role {role} yet: {why}")]
    NotYet {
        /// The role.
        role: String,
        /// What came of the last try.
        why: String,
    },
    /// A setting is missing or wrong.
    #[error("{setting}: {why}")]
    Setting {
        /// The environment variable or key.
        setting: &'static str,
        /// What is wrong and what to do.
        why: String,
    },
    /// The own certificate, key or bundle cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl ClientError {
    /// The problem document, if the broker said no.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            _ => None,
        }
    }

    /// The HTTP status, if the broker said no.
    pub fn status(&self) -> Option<u16> {
        self.problem().map(|problem| problem.status)
    }

    /// When the broker said that trying again makes sense.
    pub fn retry_after(&self) -> Option<Duration> {
        self.problem()?.retry_after.map(Duration::from_secs)
    }

    /// Whether the same call may succeed later without anybody changing anything: the broker, its store or a target is
    /// away or busy.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Problem(problem) => matches!(problem.status, 429 | 502 | 503 | 504),
            Self::Unreachable { .. } | Self::TimedOut { .. } => true,
            _ => false,
        }
    }

    pub(crate) fn setting(setting: &'static str, why: impl Into<String>) -> Self {
        Self::Setting { setting, why: why.into() }
    }

    pub(crate) fn id(setting: &'static str, text: &str, error: &IdError) -> Self {
        Self::setting(setting, format!("{text:?} is not a SPIFFE ID: {error}"))
    }
}

/// A problem in one line: what happened, and the ids by which the broker's own records can be found.
fn said(problem: &Problem) -> String {
    let what = if problem.detail.is_empty() { &problem.title } else { &problem.detail };
    let mut text = format!("{what} ({}", problem.status);
    if let Some(limit) = &problem.limit {
        text.push_str(&format!(", limit {limit}"));
    }
    if let Some(seconds) = problem.retry_after {
        text.push_str(&format!(", try again in {seconds} s"));
    }
    match &problem.decision_id {
        Some(id) if what.contains(id.as_str()) => text.push(')'),
        Some(id) => text.push_str(&format!(", decision {id})")),
        None => text.push_str(&format!(", request {})", problem.request_id)),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_as_one_line_with_its_ids() {
        let mut problem = Problem {
            kind: "/problems/no-grant".into(),
            title: "No grant".into(),
            status: 403,
            detail: "no grant lets spiffe://dev.local/x mint orders-read".into(),
            request_id: "r1".into(),
            decision_id: Some("d1".into()),
            limit: None,
            retry_after: None,
        };
        let text = ClientError::Problem(Box::new(problem.clone())).to_string();
        assert_eq!(text, "no grant lets spiffe://dev.local/x mint orders-read (403, decision d1)");
        problem.detail = "no grant (decision d1)".into();
        assert_eq!(ClientError::Problem(Box::new(problem.clone())).to_string(), "no grant (decision d1) (403)");
        problem.decision_id = None;
        problem.status = 429;
        problem.limit = Some("mints_waiting_per_target_max".into());
        problem.retry_after = Some(2);
        let error = ClientError::Problem(Box::new(problem));
        assert!(error.to_string().ends_with("(429, limit mints_waiting_per_target_max, try again in 2 s, request r1)"));
        assert!(error.is_transient());
        assert_eq!(error.retry_after(), Some(Duration::from_secs(2)));
    }
}
