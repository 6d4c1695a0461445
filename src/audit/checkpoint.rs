//! Checkpoints: now and then a line that signs the head of the chain, so that whoever writes the log anew without the key is
//! found out, by everybody who has the public key.

use std::time::Duration;

use leasehold_sdk::Timestamp;
use serde::Deserialize;

use super::event::Event;
use crate::seal::{SigningKey, VerifyingKey};
use crate::store::AuditHead;

/// How checkpoints are made, and since when one is owed.
pub struct Checkpoints {
    every: Duration,
    key: Option<SigningKey>,
    /// When the first line was written that no checkpoint covers: by the boot clock, and by the one that lines have.
    owed_since: Option<(Duration, Timestamp)>,
    /// None was written yet: what a crash left is covered together with the first lines.
    is_first: bool,
}

impl Checkpoints {
    /// One within `every` of the first line that none covers; without a key they are not signed.
    pub fn new(every: Duration, key: Option<SigningKey>) -> Self {
        Self { every, key, owed_since: None, is_first: true }
    }

    /// Whether one is to be written now, after further lines or alone. The wall clock counts too: whoever reads the log sees no
    /// other.
    pub(super) fn is_due(&self, after_lines: bool, boot: Duration, wall: Timestamp) -> bool {
        let is_late = |(boot_then, then): (Duration, Timestamp)| {
            boot.saturating_sub(boot_then) >= self.every || wall.since(then) >= self.every
        };
        (after_lines && self.is_first) || self.owed_since.is_some_and(is_late)
    }

    /// Whether one must be the last line, after further lines or alone.
    pub(super) fn is_owed(&self, after_lines: bool) -> bool {
        after_lines || self.owed_since.is_some()
    }

    /// Lines were written, the last of them a checkpoint or not.
    pub(super) fn written(&mut self, ended_in_one: bool, boot: Duration, wall: Timestamp) {
        if ended_in_one {
            (self.owed_since, self.is_first) = (None, false);
        } else {
            self.owed_since.get_or_insert((boot, wall));
        }
    }

    /// The checkpoint that covers `head`.
    pub(super) fn event(&self, chain: &str, head: &AuditHead, at: Timestamp) -> Event {
        let text = signed_text(chain, head, at);
        Event::Checkpoint {
            covers: head.clone(),
            key: self.key.as_ref().map(|key| key.public().id().to_string()),
            signature: self.key.as_ref().map(|key| key.sign(&text)),
        }
    }
}

/// What is signed. Five lines that a shell can put together from the line of the checkpoint.
fn signed_text(chain: &str, covers: &AuditHead, at: Timestamp) -> String {
    format!("leasehold audit checkpoint 1\n{chain}\n{}\n{}\n{at}\n", covers.seq, covers.hash)
}

/// A checkpoint as it is read from its line.
#[derive(Debug, Deserialize)]
pub(super) struct Read {
    pub covers: AuditHead,
    key: Option<String>,
    signature: Option<String>,
}

/// What is known of a checkpoint's signature.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Signature {
    /// It has none: the broker had no key.
    Absent,
    /// There are no keys to check it by.
    Unchecked,
    /// It is good.
    Good,
    /// It is of a key that was not given, of this name.
    Unknown(String),
    /// It is not that key's, or of another text.
    Bad,
}

impl Read {
    /// Looks at the signature with these keys.
    pub(super) fn signature(&self, chain: &str, at: Timestamp, keys: &[VerifyingKey]) -> Signature {
        let (Some(id), Some(signature)) = (&self.key, &self.signature) else { return Signature::Absent };
        if keys.is_empty() {
            return Signature::Unchecked;
        }
        match keys.iter().find(|key| key.id().as_str() == id) {
            None => Signature::Unknown(id.clone()),
            Some(key) if key.signed(&signed_text(chain, &self.covers, at), signature) => Signature::Good,
            Some(_) => Signature::Bad,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_due_by_either_clock_and_only_when_something_was_written() {
        let (second, at) = (Duration::from_secs, Timestamp::from_unix_ms);
        let mut checkpoints = Checkpoints::new(second(10), None);
        assert!(!checkpoints.is_due(false, second(1000), at(1_000_000)));
        assert!(checkpoints.is_due(true, second(1000), at(1_000_000)), "the first lines of a run are covered at once");
        checkpoints.written(true, second(1), at(0));
        checkpoints.written(false, second(5), at(0));
        checkpoints.written(false, second(14), at(9000));
        assert!(checkpoints.is_owed(false) && !checkpoints.is_due(true, second(14), at(9999)));
        assert!(checkpoints.is_due(false, second(15), at(0)) && checkpoints.is_due(false, second(6), at(10_000)));
        checkpoints.written(true, second(15), at(0));
        assert!(!checkpoints.is_owed(false) && !checkpoints.is_due(false, second(99), at(99_000)));
    }
}
