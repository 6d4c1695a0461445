//! Checks one chain, line by line.

use std::collections::VecDeque;
use std::path::PathBuf;

use data_encoding::HEXLOWER;
use leasehold_sdk::Timestamp;
use serde::Deserialize;

use super::super::chain::{Line, NO_PREV};
use super::super::checkpoint::{Read, Signature};
use super::{BREAKS_LISTED_MAX, Broken, ChainReport, Demands, Fault, HeadCheck, Known, Signed, Stored};
use crate::store::AuditHead;

/// Lines of a chain that are remembered, so that one that a sink sent twice is known again.
const RECENT_LINES_MAX: usize = 65_536;
/// Gaps in what was collected that are remembered.
const GAPS_MAX: usize = 1024;

/// One chain so far.
pub(super) struct ChainCheck<'a> {
    demands: &'a Demands,
    known: Vec<&'a Known>,
    before: Option<AuditHead>,
    place: (PathBuf, u64),
    recent: VecDeque<(u64, [u8; 32])>,
    gaps: Vec<(u64, u64)>,
    /// Lines that no good checkpoint covers, and when the first of them was written.
    not_covered: Option<(u64, Timestamp)>,
    report: ChainReport,
}

/// What a line says of lines that a sink lost.
#[derive(Deserialize)]
struct LinesLost {
    first_seq: u64,
    last_seq: u64,
}

impl<'a> ChainCheck<'a> {
    pub(super) fn new(chain: &str, demands: &'a Demands) -> Self {
        Self {
            demands,
            known: demands.known.iter().filter(|known| known.chain == chain).collect(),
            before: None,
            place: (PathBuf::new(), 0),
            recent: VecDeque::new(),
            gaps: Vec::new(),
            not_covered: None,
            report: ChainReport::empty(chain),
        }
    }

    /// The next line of this chain, with its bytes, which stand at `place`.
    pub(super) fn line(&mut self, line: &Line, bytes: &[u8], place: (&PathBuf, u64)) -> Result<(), Fault> {
        if self.was_sent_twice(line) {
            self.report.repeated += 1;
            return Ok(());
        }
        self.follows(line)?;
        self.hold_against_known(line)?;
        self.note(line, bytes)?;
        self.report.lines += 1;
        self.report.first.get_or_insert((line.seq, line.at));
        self.report.last = Some((line.seq, line.at));
        if self.place.0 != *place.0 {
            self.place.0.clone_from(place.0);
        }
        self.place.1 = place.1;
        self.before = Some(line.head());
        self.remember(line);
        Ok(())
    }

    /// What is wrong with the end, and the report.
    pub(super) fn finish(mut self) -> (ChainReport, Vec<Broken>) {
        let mut faults = Vec::new();
        let (chain, found) = (self.report.chain.clone(), self.before.as_ref().map_or(0, |head| head.seq));
        for known in self.known.iter().filter(|known| known.head.seq > found) {
            let (known, by) = (known.head.seq, known.by.clone());
            faults.push(Fault::CutTail { chain: chain.clone(), known, by, found });
        }
        if self.demands.stored == Stored::Collected {
            let gaps = self.gaps.iter().map(|&(from, to)| Fault::Gap { chain: chain.clone(), from, to });
            faults.extend(gaps);
        }
        let checkpoints = self.report.checkpoints;
        if checkpoints > 0 && !self.demands.keys.is_empty() && self.report.signed == Signed::No {
            faults.push(Fault::NothingSigned { chain: chain.clone(), checkpoints });
        }
        if let (Some((lines, since)), Some((_, last))) = (self.not_covered, self.report.last) {
            let now = self.demands.now.unwrap_or(last);
            if self.demands.stored != Stored::Copy && now.since(since) > self.demands.covered_within {
                faults.push(Fault::NotCovered { chain, since, lines });
            }
        }
        self.report.not_covered = self.not_covered.map_or(0, |(lines, _)| lines);
        self.report.head = self.before;
        let place = (self.report.lines > 0).then_some(self.place);
        (self.report, faults.into_iter().map(|what| Broken { place: place.clone(), what }).collect())
    }

    /// A collector gets a line again when a sink did not hear that it had come.
    fn was_sent_twice(&self, line: &Line) -> bool {
        let is_old = self.before.as_ref().is_some_and(|before| line.seq <= before.seq);
        // They were remembered in the order of their numbers.
        let found = || self.recent.binary_search_by_key(&line.seq, |(seq, _)| *seq).ok();
        is_old && found().is_some_and(|at| Some(self.recent[at].1) == hash(line))
    }

    fn remember(&mut self, line: &Line) {
        if self.demands.stored == Stored::AsWritten {
            return;
        }
        if self.recent.len() == RECENT_LINES_MAX {
            self.recent.pop_front();
        }
        self.recent.extend(hash(line).map(|hash| (line.seq, hash)));
    }

    /// A line that says the chain was broken may skip numbers, never go back.
    fn follows(&mut self, line: &Line) -> Result<(), Fault> {
        let Some(before) = &self.before else {
            return if line.seq == 1 && line.prev != NO_PREV { Err(Fault::NotFollowing) } else { Ok(()) };
        };
        let expected = before.seq.saturating_add(1);
        if line.follows(before) || (line.event == "chain_broken" && line.seq > expected) {
            return Ok(());
        }
        match line.seq {
            seq if seq > expected && self.demands.stored != Stored::AsWritten && self.gaps.len() < GAPS_MAX => {
                self.gaps.push((expected, seq - 1));
                Ok(())
            }
            seq if seq > expected => Err(Fault::Missing { from: expected, to: seq - 1 }),
            seq if seq < expected => Err(Fault::OutOfOrder { found: seq, expected }),
            _ => Err(Fault::NotFollowing),
        }
    }

    fn hold_against_known(&mut self, line: &Line) -> Result<(), Fault> {
        for known in &self.known {
            let other = || Fault::NotTheKnown { seq: known.head.seq, by: known.by.clone() };
            if known.head.seq == line.seq {
                self.report.known_head = HeadCheck::Found;
                if known.head.hash != line.hash {
                    return Err(other());
                }
            } else if self.before.is_none() && known.head.seq < line.seq {
                self.report.known_head = HeadCheck::BeforeFirst;
                if known.head.seq + 1 == line.seq && known.head.hash != line.prev {
                    return Err(other());
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, line: &Line, bytes: &[u8]) -> Result<(), Fault> {
        let (lines, since) = self.not_covered.unwrap_or((0, line.at));
        self.not_covered = Some((lines + 1, since));
        match line.event.as_str() {
            "chain_broken" => {
                self.report.breaks += 1;
                if self.report.breaks_listed.len() < BREAKS_LISTED_MAX {
                    self.report.breaks_listed.push((line.seq, line.sink.clone().unwrap_or_default()));
                }
            }
            "checkpoint" => self.checkpoint(line, bytes)?,
            "lines_lost" => {
                if let Ok(lost) = serde_json::from_slice::<LinesLost>(bytes) {
                    let explained = |(from, to): &(u64, u64)| lost.first_seq <= *from && *to <= lost.last_seq;
                    let before = self.gaps.len();
                    self.gaps.retain(|gap| !explained(gap));
                    self.report.lost += (before - self.gaps.len()) as u64;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn checkpoint(&mut self, line: &Line, bytes: &[u8]) -> Result<(), Fault> {
        let read: Read = serde_json::from_slice(bytes).map_err(|why| Fault::NotALine(why.to_string()))?;
        if read.covers.hash != line.prev || read.covers.seq.checked_add(1) != Some(line.seq) {
            return Err(Fault::WrongCheckpoint);
        }
        self.report.checkpoints += 1;
        self.report.signed = match read.signature(&line.chain, line.at, &self.demands.keys) {
            Signature::Good => Signed::To(line.seq, line.at),
            Signature::Unchecked => Signed::Unchecked,
            Signature::Bad => return Err(Fault::Forged),
            Signature::Unknown(id) => return Err(Fault::UnknownKey { id }),
            // Until it got a key, the broker could not sign; what it wrote then is covered by the first that it signed.
            Signature::Absent if self.report.signed != Signed::No => return Err(Fault::Unsigned),
            Signature::Absent if !self.demands.keys.is_empty() => return Ok(()),
            Signature::Absent => Signed::No,
        };
        self.not_covered = None;
        Ok(())
    }
}

fn hash(line: &Line) -> Option<[u8; 32]> {
    HEXLOWER.decode(line.hash.as_bytes()).ok()?.try_into().ok()
}
