//! What can go wrong in a target, and what `check` finds there.

use std::fmt;
use std::time::Duration;

/// Longest text of a target that we keep, in bytes.
const REASON_BYTES_MAX: usize = 500;

/// A text for a person, which may hold what a target said: cut to 500 bytes, control characters escaped (law 7).
#[derive(Clone, PartialEq, Eq)]
pub struct Reason(String);

impl Reason {
    /// Cuts and escapes `text`.
    pub fn new(text: impl AsRef<str>) -> Self {
        let mut out = String::new();
        for c in text.as_ref().chars() {
            if out.len() >= REASON_BYTES_MAX {
                out.push('…');
                break;
            }
            // Bidirectional controls can make a log line read as something that it is not.
            if c.is_control()
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
            {
                out.extend(c.escape_unicode());
            } else {
                out.push(c);
            }
        }
        Self(out)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why an engine did not do what it was asked. The kind says what may be true in the target now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// Not done, and certainly nothing was made; the same call may succeed later (the target is away, busy or slow).
    #[error("{why}")]
    Retry {
        /// What happened.
        why: Reason,
        /// When the engine knows how long to wait.
        after: Option<Duration>,
    },
    /// Not done, certainly nothing was made, and the same call will not succeed before something changes.
    #[error("{why}")]
    Refused {
        /// What happened, and what to do.
        why: Reason,
    },
    /// It may have been done, or may still come to be done: only a later look can tell (law 3).
    #[error("{why}")]
    Unknown {
        /// What happened.
        why: Reason,
    },
}

impl EngineError {
    /// A [`EngineError::Retry`] without a known waiting time.
    pub fn retry(why: impl AsRef<str>) -> Self {
        Self::Retry { why: Reason::new(why), after: None }
    }

    /// A [`EngineError::Refused`].
    pub fn refused(why: impl AsRef<str>) -> Self {
        Self::Refused { why: Reason::new(why) }
    }

    /// A [`EngineError::Unknown`].
    pub fn unknown(why: impl AsRef<str>) -> Self {
        Self::Unknown { why: Reason::new(why) }
    }

    /// The text for a person.
    pub fn why(&self) -> &Reason {
        match self {
            Self::Retry { why, .. } | Self::Refused { why } | Self::Unknown { why } => why,
        }
    }
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Good,
    /// It works, but somebody should look.
    Warning,
    /// The role or target cannot be used like this.
    Error,
}

/// One thing that `check` found.
#[derive(Debug, Clone)]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// The role it is about, if it is about one.
    pub role: Option<String>,
    /// What was found.
    pub what: Reason,
    /// What to run or change to mend it, ready to paste; may have several lines.
    pub fix: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_target_says_is_cut_and_escaped() {
        let r = Reason::new(format!("a\x1b[31m\n\u{202e}{}", "x".repeat(10_000)));
        assert!(r.as_str().starts_with("a\\u{1b}[31m\\u{a}\\u{202e}xxx"));
        assert!(r.as_str().len() < REASON_BYTES_MAX + 10);
    }
}
