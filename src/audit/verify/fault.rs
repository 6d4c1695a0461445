//! What can be wrong with a log.

use std::fmt;
use std::io;
use std::path::PathBuf;

use leasehold_sdk::Timestamp;

use super::super::chain::{BadLine, LINE_BYTES_MAX};

/// All that is wrong: one thing within the files, at which reading stops, or all that is wrong with their ends.
#[derive(Debug, thiserror::Error)]
pub struct Faults(pub Vec<Broken>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, broken) in self.0.iter().enumerate() {
            write!(f, "{}{broken}", if n == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

/// Something is wrong.
#[derive(Debug)]
pub struct Broken {
    /// In which file and line, from 1: the last of a chain where something is missing after it. `None`: in no file.
    pub place: Option<(PathBuf, u64)>,
    /// What.
    pub what: Fault,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some((file, line)) => write!(f, "{}:{line}: {}", file.display(), self.what),
            None => self.what.fmt(f),
        }
    }
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// It is longer than any line can be.
    #[error("the line is longer than {LINE_BYTES_MAX} bytes")]
    TooLong,
    /// It is no line of a log.
    #[error("not a line of an audit log: {0}")]
    NotALine(String),
    /// Its bytes are not those that were written.
    #[error("the line was changed: its hash is not that of its bytes")]
    Changed,
    /// It does not end in a newline.
    #[error("the line is torn: a crash, or a broker that is writing it just now")]
    Torn,
    /// It belongs to another chain.
    #[error("the line is of the chain {found:?}, not {expected:?}")]
    OtherChain {
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: String,
    },
    /// There are more chains than any company has brokers.
    #[error("there are more than {limit} chains in these files")]
    TooManyChains {
        /// The limit.
        limit: usize,
    },
    /// Lines are missing.
    #[error("lines {from} to {to} are missing before it")]
    Missing {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// Lines are missing from what was collected, and no later line says that they were lost on their way.
    #[error("lines {from} to {to} of the chain {chain} are missing, and no `lines_lost` line of a sink says so")]
    Gap {
        /// Of which chain.
        chain: String,
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// A number comes again, or lines are in another order.
    #[error("line number {found} stands where {expected} should: repeated, reordered or inserted")]
    OutOfOrder {
        /// The number there.
        found: u64,
        /// The number that should be.
        expected: u64,
    },
    /// It does not name the line before it.
    #[error("it does not follow the line before it: one of them was replaced")]
    NotFollowing,
    /// The line that somebody knows is another.
    #[error("line {seq} is not the one that {by} knows: the log was rewritten")]
    NotTheKnown {
        /// Its number.
        seq: u64,
        /// Who knows another.
        by: String,
    },
    /// The end is gone.
    #[error("the end is cut off: {by} knows of line {known} of the chain {chain}, the files end at {found}")]
    CutTail {
        /// Of which chain.
        chain: String,
        /// The last number that is known.
        known: u64,
        /// Who knows it.
        by: String,
        /// The last number in the files.
        found: u64,
    },
    /// A whole chain is gone.
    #[error("the chain {chain} is missing: {by} knows of {lines} lines of it, and none of the files holds any")]
    MissingChain {
        /// Which.
        chain: String,
        /// Who knows it.
        by: String,
        /// How long it is.
        lines: u64,
    },
    /// A checkpoint does not name the line before it.
    #[error("the checkpoint does not cover the line before it")]
    WrongCheckpoint,
    /// A checkpoint's signature is not that of its key.
    #[error("the checkpoint's signature is not good: the log was rewritten by somebody without the key")]
    Forged,
    /// A checkpoint is signed by a key that is not among those to check by.
    #[error(
        "the checkpoint is signed by key {id}, which is not among those given: the log was rewritten, or an older key is missing"
    )]
    UnknownKey {
        /// The key's name.
        id: String,
    },
    /// A checkpoint has no signature although earlier ones have, or although there is a key.
    #[error(
        "the checkpoint is not signed, although the broker has a key: the log was rewritten by somebody without it"
    )]
    Unsigned,
    /// No checkpoint is signed although there is a key.
    #[error(
        "none of the {checkpoints} checkpoints of the chain {chain} is signed, although there is a key: the log was rewritten by \
         somebody without it, or the broker was not started since it has one"
    )]
    NothingSigned {
        /// Of which chain.
        chain: String,
        /// How many.
        checkpoints: u64,
    },
    /// No checkpoint covers what was written long ago.
    #[error(
        "no checkpoint covers the {lines} lines of the chain {chain} from {since} on: the broker was killed and not started \
         again, its log cannot be written, or the end was written by another hand (a broker that stops, and one that runs, \
         covers its lines)"
    )]
    NotCovered {
        /// Of which chain.
        chain: String,
        /// When the first of them was written.
        since: Timestamp,
        /// How many.
        lines: u64,
    },
}

impl From<BadLine> for Fault {
    fn from(bad: BadLine) -> Self {
        match bad {
            BadLine::NotALine(why) => Self::NotALine(why),
            BadLine::Changed => Self::Changed,
        }
    }
}
