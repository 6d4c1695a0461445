//! Who is asking.

use leasehold_identity::SpiffeId;
use leasehold_sdk::Timestamp;

/// Longest reason that may be given on the break-glass socket, in characters.
pub const REASON_CHARS_MAX: usize = 200;

/// The verified identity behind a request, with the proof it came by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The SPIFFE ID, as verified for this request. Whoever comes by the break-glass socket has none, and goes by a name
    /// that only says so.
    pub id: SpiffeId,
    /// What proved it.
    pub proof: Proof,
}

/// How an identity was proved. A grant may come to demand a kind of proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// An X.509-SVID over mTLS.
    Certificate {
        /// SHA-256 of the leaf, in hex.
        sha256: String,
        /// When the leaf ends.
        not_after: Timestamp,
    },
    /// The break-glass socket on the broker's host, whose kernel says that the other side is root.
    BreakGlass(BreakGlass),
}

/// Who used the break-glass socket, and why.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct BreakGlass {
    /// Of the process on the other side when it connected.
    pub uid: u32,
    /// The same; `None` where the kernel does not know it, such as in another PID namespace.
    pub pid: Option<i32>,
    /// In the operator's own words.
    pub reason: Reason,
}

/// Why the glass is broken: 1 to [`REASON_CHARS_MAX`] characters of plain text on one line.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Reason(String);

/// A text is no reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a reason is 1 to {REASON_CHARS_MAX} characters of plain text on one line")]
pub struct ReasonError;

impl Reason {
    /// Checks it.
    ///
    /// # Errors
    /// When it is empty, too long or holds control characters.
    pub fn new(text: &str) -> Result<Self, ReasonError> {
        let text = text.trim();
        let fits = (1..=REASON_CHARS_MAX).contains(&text.chars().count());
        if fits && !text.chars().any(char::is_control) { Ok(Self(text.to_owned())) } else { Err(ReasonError) }
    }

    /// Its words.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Caller {
    /// Whether what belongs to `identity` is the caller's own. Nothing is, of whoever came by the break-glass socket.
    pub fn is(&self, identity: &SpiffeId) -> bool {
        self.break_glass().is_none() && self.id == *identity
    }

    /// The hash of its certificate, if that is what proved it.
    pub fn cert_sha256(&self) -> Option<&str> {
        match &self.proof {
            Proof::Certificate { sha256, .. } => Some(sha256),
            Proof::BreakGlass(_) => None,
        }
    }

    /// Who used the break-glass socket and why, if it came by that.
    pub fn break_glass(&self) -> Option<&BreakGlass> {
        match &self.proof {
            Proof::Certificate { .. } => None,
            Proof::BreakGlass(by) => Some(by),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_line_of_words() {
        assert_eq!(Reason::new("  the IdP is down, incident 7 ").unwrap().as_str(), "the IdP is down, incident 7");
        assert!(Reason::new(&"é".repeat(REASON_CHARS_MAX)).is_ok());
        for bad in ["", "   ", "a\nb", "\u{1b}[31m", &"x".repeat(REASON_CHARS_MAX + 1)] {
            assert!(Reason::new(bad).is_err(), "{bad:?}");
        }
    }
}
