//! Whether files of the log are whole, from their bytes.

mod chain;
mod fault;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use leasehold_sdk::Timestamp;

use super::chain::{LINE_BYTES_MAX, read_line};
use crate::seal::VerifyingKey;
use crate::store::AuditHead;
use chain::ChainCheck;

pub use fault::{Broken, Fault, Faults};

/// Breaks that a report lists at most; all are counted.
const BREAKS_LISTED_MAX: usize = 100;
/// Chains that are told apart.
const CHAINS_MAX: usize = 10_000;

/// What files are held against.
#[derive(Debug, Clone)]
pub struct Demands {
    /// Heads of chains that somebody else knows; read before the files are, where a broker is writing.
    pub known: Vec<Known>,
    /// No line may be of another chain than this.
    pub only: Option<String>,
    /// Keys that check the signatures of checkpoints; none: they are not checked.
    pub keys: Vec<VerifyingKey>,
    /// The present, where the files are to reach to it; `None`: they may have been rotated away long ago.
    pub now: Option<Timestamp>,
    /// How old a line may be that no checkpoint covers.
    pub covered_within: Duration,
    /// Who stored them.
    pub stored: Stored,
}

impl Default for Demands {
    fn default() -> Self {
        Self {
            known: Vec::new(),
            only: None,
            keys: Vec::new(),
            now: None,
            covered_within: Duration::MAX,
            stored: Stored::AsWritten,
        }
    }
}

/// The last line of a chain that somebody knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Of which chain.
    pub chain: String,
    /// The line.
    pub head: AuditHead,
    /// Who knows it, for people.
    pub by: String,
    /// Whether the chain must be among those in the files.
    pub is_required: bool,
}

/// Who stored the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// The broker: each line stands once, in its order.
    AsWritten,
    /// A collector: it may have got lines again after a connection broke, and gaps that a `lines_lost` line explains.
    Collected,
    /// Somebody who is asked only for what he has: gaps are nobody's fault.
    Copy,
}

/// What was found to be whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Each chain that has a line in the files, by its id.
    pub chains: Vec<ChainReport>,
}

/// What was found of one chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainReport {
    /// Its id.
    pub chain: String,
    /// How many lines.
    pub lines: u64,
    /// Number and time of the first line. A number above 1: what came before is in files that were not given.
    pub first: Option<(u64, Timestamp)>,
    /// Number and time of the last line.
    pub last: Option<(u64, Timestamp)>,
    /// Its last line.
    pub head: Option<AuditHead>,
    /// Where the known heads stand.
    pub known_head: HeadCheck,
    /// How many lines say `chain_broken`: a broker found at its start that lines were missing or others stood there. Whoever
    /// shows a report should not call it good when there are any.
    pub breaks: u64,
    /// Number and file of the first of them.
    pub breaks_listed: Vec<(u64, String)>,
    /// How many checkpoints.
    pub checkpoints: u64,
    /// What their signatures prove.
    pub signed: Signed,
    /// Lines at the end that no good checkpoint covers.
    pub not_covered: u64,
    /// Lines that stand again, word for word, as collectors may get them.
    pub repeated: u64,
    /// Gaps that a line explains: a sink that is not required lost lines.
    pub lost: u64,
}

/// What signatures prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signed {
    /// Nothing: there are none.
    No,
    /// There are some, and no keys to check them by.
    Unchecked,
    /// All is as it was written, up to the line of this number, signed at this time.
    To(u64, Timestamp),
}

/// Where the heads that are known stand in the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadCheck {
    /// None was given: a cut tail cannot be found.
    NotGiven,
    /// It is there.
    Found,
    /// The files begin after it, so that only that they go on from it, or not even that, can be told.
    BeforeFirst,
}

/// Checks `files`, in the order in which they were written (rotated ones first), line by line in bounded memory. Lines of
/// several chains may stand between each other.
///
/// # Errors
/// The first thing that is wrong within them, or all that is wrong with their ends.
pub fn verify(files: &[PathBuf], demands: &Demands) -> Result<Report, Faults> {
    let mut check = Check { demands, chains: BTreeMap::new() };
    for file in files {
        let mut number = 0;
        check.read_file(file, &mut number).map_err(|what| {
            let place = Some((file.clone(), number));
            Faults(vec![Broken { place, what }])
        })?;
    }
    check.finish()
}

/// Checks the end of a broker's own file, as much of it as is looked at and from the last line on that says `chain_broken`: what
/// came before is on record. `None`: nothing is wrong with it.
pub(super) fn verify_tail(file: &File, bytes_max: u64, demands: &Demands) -> io::Result<Option<Fault>> {
    let start = file.metadata()?.len().saturating_sub(bytes_max);
    let mut reader = BufReader::with_capacity(128 * 1024, file);
    reader.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    if start > 0 {
        // It began somewhere before.
        (&mut reader).take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut bytes)?;
    }
    let (mut check, mut fault) = (None, None);
    loop {
        bytes.clear();
        if (&mut reader).take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        let line = match read_line(bytes.trim_ascii_end()) {
            Ok(line) => line,
            Err(bad) => {
                fault.get_or_insert(Fault::from(bad));
                continue;
            }
        };
        if line.event == "chain_broken" {
            (check, fault) = (None, None);
        }
        let check = check.get_or_insert_with(|| ChainCheck::new(&line.chain, demands));
        if fault.is_none() {
            fault = check.line(&line, bytes.trim_ascii_end(), (&PathBuf::new(), 0)).err();
        }
    }
    let at_end = || check.and_then(|check| check.finish().1.into_iter().next()).map(|broken| broken.what);
    Ok(fault.or_else(at_end))
}

struct Check<'a> {
    demands: &'a Demands,
    chains: BTreeMap<String, ChainCheck<'a>>,
}

impl<'a> Check<'a> {
    fn read_file(&mut self, path: &PathBuf, number: &mut u64) -> Result<(), Fault> {
        let mut reader = BufReader::with_capacity(128 * 1024, File::open(path)?);
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            if (&mut reader).take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut bytes)? == 0 {
                return Ok(());
            }
            *number += 1;
            if bytes.len() > LINE_BYTES_MAX {
                return Err(Fault::TooLong);
            }
            let whole = bytes.strip_suffix(b"\n").ok_or(Fault::Torn)?;
            let line = read_line(whole)?;
            self.chain(&line.chain)?.line(&line, whole, (path, *number))?;
        }
    }

    fn chain(&mut self, name: &str) -> Result<&mut ChainCheck<'a>, Fault> {
        if let Some(expected) = self.demands.only.as_ref().filter(|only| *only != name) {
            return Err(Fault::OtherChain { found: name.to_owned(), expected: expected.clone() });
        }
        if !self.chains.contains_key(name) && self.chains.len() == CHAINS_MAX {
            return Err(Fault::TooManyChains { limit: CHAINS_MAX });
        }
        let demands = self.demands;
        Ok(self.chains.entry(name.to_owned()).or_insert_with(|| ChainCheck::new(name, demands)))
    }

    fn finish(self) -> Result<Report, Faults> {
        let mut faults = Vec::new();
        let missing = |known: &&Known| known.is_required && !self.chains.contains_key(&known.chain);
        for Known { chain, head, by, .. } in self.demands.known.iter().filter(missing) {
            let what = Fault::MissingChain { chain: chain.clone(), by: by.clone(), lines: head.seq };
            faults.push(Broken { place: None, what });
        }
        let mut chains = Vec::new();
        for (report, more) in self.chains.into_values().map(ChainCheck::finish) {
            chains.push(report);
            faults.extend(more);
        }
        if faults.is_empty() { Ok(Report { chains }) } else { Err(Faults(faults)) }
    }
}

impl ChainReport {
    fn empty(chain: &str) -> Self {
        Self {
            chain: chain.to_owned(),
            lines: 0,
            first: None,
            last: None,
            head: None,
            known_head: HeadCheck::NotGiven,
            breaks: 0,
            breaks_listed: Vec::new(),
            checkpoints: 0,
            signed: Signed::No,
            not_covered: 0,
            repeated: 0,
            lost: 0,
        }
    }
}
