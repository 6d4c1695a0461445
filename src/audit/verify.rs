//! Whether files of the log are whole, from their bytes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use leasehold_sdk::Timestamp;

use super::chain::{BadLine, LINE_BYTES_MAX, Line, NO_PREV, read_line};
use crate::store::AuditHead;

/// Breaks that a report lists at most; all are counted.
const BREAKS_LISTED_MAX: usize = 100;

/// What was found to be whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The chain's id; `None`: the files are empty.
    pub chain: Option<String>,
    /// How many lines.
    pub lines: u64,
    /// Number and time of the first line. A number above 1: what came before is in files that were not given.
    pub first: Option<(u64, Timestamp)>,
    /// Number and time of the last line.
    pub last: Option<(u64, Timestamp)>,
    /// Where the known head stands.
    pub known_head: HeadCheck,
    /// How many lines say `chain_broken`: a broker found at its start that lines were missing or others stood there. Whoever
    /// shows a report should not call it good when there are any.
    pub breaks: u64,
    /// Number and file of the first of them.
    pub breaks_listed: Vec<(u64, String)>,
}

/// Where the head that the store knows stands in the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadCheck {
    /// None was given: a cut tail cannot be found.
    NotGiven,
    /// It is there.
    Found,
    /// The files begin after it, so that only that they go on from it, or not even that, can be told.
    BeforeFirst,
}

/// Something is wrong.
#[derive(Debug, thiserror::Error)]
#[error("{}:{line}: {what}", file.display())]
pub struct Broken {
    /// In which file.
    pub file: PathBuf,
    /// In which line, from 1; the last of the file where something is missing after it.
    pub line: u64,
    /// What.
    pub what: Fault,
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
    /// Lines are missing.
    #[error("lines {from} to {to} are missing before it")]
    Missing {
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
    /// The line that the store knows is another.
    #[error("line {seq} is not the one that the store knows: the log was rewritten")]
    NotTheKnown {
        /// Its number.
        seq: u64,
    },
    /// The end is gone.
    #[error("the end is cut off: the store knows of line {known}, the files end at {found}")]
    CutTail {
        /// The last number that the store knows.
        known: u64,
        /// The last number in the files.
        found: u64,
    },
}

/// Checks `files`, in the order in which they were written (rotated ones first), line by line in bounded memory.
///
/// `known_head`, from the store, finds a cut tail and a log rewritten from end to end; it must be read before the files are,
/// where a broker is writing. `chain`: the chain they should hold; `None`: that of their first line.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify(files: &[PathBuf], known_head: Option<&AuditHead>, chain: Option<&str>) -> Result<Report, Broken> {
    let mut check = Check { known: known_head, chain: chain.map(str::to_owned), before: None, report: empty() };
    let mut place = (PathBuf::new(), 0);
    for file in files {
        place = (file.clone(), 0);
        read_file(file, &mut place.1, &mut check).map_err(|what| Broken { file: file.clone(), line: place.1, what })?;
    }
    check.finish().map_err(|what| Broken { file: place.0, line: place.1, what })
}

fn read_file(path: &Path, number: &mut u64, check: &mut Check<'_>) -> Result<(), Fault> {
    let mut reader = BufReader::with_capacity(128 * 1024, File::open(path)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut reader).take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        *number += 1;
        if line.len() > LINE_BYTES_MAX {
            return Err(Fault::TooLong);
        }
        let whole = line.strip_suffix(b"\n").ok_or(Fault::Torn)?;
        check.line(read_line(whole).map_err(Fault::from)?)?;
    }
}

struct Check<'a> {
    known: Option<&'a AuditHead>,
    chain: Option<String>,
    before: Option<AuditHead>,
    report: Report,
}

impl Check<'_> {
    fn line(&mut self, line: Line) -> Result<(), Fault> {
        let chain = self.chain.get_or_insert_with(|| line.chain.clone());
        if *chain != line.chain {
            return Err(Fault::OtherChain { found: line.chain, expected: chain.clone() });
        }
        let is_break = line.event == "chain_broken";
        match &self.before {
            Some(before) => follows(&line, before, is_break)?,
            None if line.seq == 1 && line.prev != NO_PREV => return Err(Fault::NotFollowing),
            None => self.first(&line)?,
        }
        if self.known.is_some_and(|known| known.seq == line.seq) {
            self.report.known_head = HeadCheck::Found;
            if self.known.is_some_and(|known| known.hash != line.hash) {
                return Err(Fault::NotTheKnown { seq: line.seq });
            }
        }
        if is_break {
            self.report.breaks += 1;
            if self.report.breaks_listed.len() < BREAKS_LISTED_MAX {
                self.report.breaks_listed.push((line.seq, line.sink.clone().unwrap_or_default()));
            }
        }
        self.report.lines += 1;
        self.report.first.get_or_insert((line.seq, line.at));
        self.report.last = Some((line.seq, line.at));
        self.before = Some(line.head());
        Ok(())
    }

    fn first(&mut self, line: &Line) -> Result<(), Fault> {
        match self.known {
            Some(known) if known.seq < line.seq => {
                self.report.known_head = HeadCheck::BeforeFirst;
                if known.seq + 1 == line.seq && known.hash != line.prev {
                    return Err(Fault::NotTheKnown { seq: known.seq });
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn finish(mut self) -> Result<Report, Fault> {
        let found = self.before.as_ref().map_or(0, |head| head.seq);
        if let Some(known) = self.known.filter(|known| known.seq > found) {
            return Err(Fault::CutTail { known: known.seq, found });
        }
        if self.known.is_some_and(|known| known.seq == 0) {
            self.report.known_head = HeadCheck::Found;
        }
        self.report.chain = self.before.and(self.chain);
        Ok(self.report)
    }
}

/// A line that says the chain was broken may skip numbers, never go back.
fn follows(line: &Line, before: &AuditHead, is_break: bool) -> Result<(), Fault> {
    let expected = before.seq.saturating_add(1);
    if line.follows(before) || (is_break && line.seq > expected) {
        return Ok(());
    }
    Err(match line.seq {
        seq if seq > expected => Fault::Missing { from: expected, to: seq - 1 },
        seq if seq < expected => Fault::OutOfOrder { found: seq, expected },
        _ => Fault::NotFollowing,
    })
}

impl From<BadLine> for Fault {
    fn from(bad: BadLine) -> Self {
        match bad {
            BadLine::NotALine(why) => Self::NotALine(why),
            BadLine::Changed => Self::Changed,
        }
    }
}

fn empty() -> Report {
    Report {
        chain: None,
        lines: 0,
        first: None,
        last: None,
        known_head: HeadCheck::NotGiven,
        breaks: 0,
        breaks_listed: Vec::new(),
    }
}
