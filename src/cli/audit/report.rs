//! What `audit verify` prints of a log that is whole.

use leasehold_sdk::Timestamp;
use serde::Serialize;

use crate::audit::{ChainReport, HeadCheck, Report, Signed};

/// What is printed.
#[derive(Debug, Serialize)]
pub(super) struct Verified {
    /// Whether nothing is missing, by what the log itself says.
    pub whole: bool,
    chains: Vec<Chain>,
}

#[derive(Debug, Serialize)]
struct Chain {
    chain: String,
    lines: u64,
    first: Option<Line>,
    last: Option<Line>,
    /// `found`, `before_first` or `not_given`.
    known_head: &'static str,
    checkpoints: u64,
    /// `yes`, `unchecked` (no key was given) or `no` (the broker has no key).
    signed: &'static str,
    /// The last line that a good signature covers.
    signed_to: Option<Line>,
    /// Lines after the last checkpoint.
    not_covered: u64,
    /// Lines that stand again, word for word.
    repeated: u64,
    /// Gaps that a `lines_lost` line explains.
    gaps_on_record: u64,
    breaks: u64,
    breaks_listed: Vec<Break>,
}

#[derive(Debug, Serialize)]
struct Line {
    seq: u64,
    at: Timestamp,
}

#[derive(Debug, Serialize)]
struct Break {
    seq: u64,
    file: String,
}

impl Verified {
    pub(super) fn of(report: Report) -> Self {
        let chains: Vec<Chain> = report.chains.into_iter().map(Chain::of).collect();
        Self { whole: chains.iter().all(|chain| chain.breaks == 0), chains }
    }

    pub(super) fn members(&self) -> Vec<(&'static str, String)> {
        let whole = if self.whole { "yes" } else { "no: lines were already missing when a broker started" };
        let mut members = vec![("whole", whole.to_owned())];
        if self.chains.is_empty() {
            members.push(("lines", "none".to_owned()));
        }
        members.extend(self.chains.iter().flat_map(Chain::members));
        members
    }
}

impl Chain {
    fn of(report: ChainReport) -> Self {
        let line = |(seq, at)| Line { seq, at };
        let (signed, signed_to) = match report.signed {
            Signed::No => ("no", None),
            Signed::Unchecked => ("unchecked", None),
            Signed::To(seq, at) => ("yes", Some(line((seq, at)))),
        };
        Self {
            chain: report.chain,
            lines: report.lines,
            first: report.first.map(line),
            last: report.last.map(line),
            known_head: match report.known_head {
                HeadCheck::NotGiven => "not_given",
                HeadCheck::Found => "found",
                HeadCheck::BeforeFirst => "before_first",
            },
            checkpoints: report.checkpoints,
            signed,
            signed_to,
            not_covered: report.not_covered,
            repeated: report.repeated,
            gaps_on_record: report.lost,
            breaks: report.breaks,
            breaks_listed: report.breaks_listed.into_iter().map(|(seq, file)| Break { seq, file }).collect(),
        }
    }

    fn members(&self) -> Vec<(&'static str, String)> {
        let line = |line: &Option<Line>| line.as_ref().map(|l| format!("{} at {}", l.seq, l.at)).unwrap_or_default();
        let end = match self.known_head {
            "found" => "the last known line is there",
            "before_first" => "the files begin after the last known line",
            _ => "not checked: add --config or --against to find a tail that was cut off",
        };
        let signed = match (self.signed, self.checkpoints) {
            ("yes", _) => format!("up to line {}", line(&self.signed_to)),
            ("unchecked", _) => "not checked: add --key or --config to find a log that was written anew".to_owned(),
            (_, 0) => "no: there is no checkpoint".to_owned(),
            _ => "no: the broker has no [seal] key, so that a log that was written anew cannot be told".to_owned(),
        };
        let mut members = vec![
            ("chain", self.chain.clone()),
            ("lines", self.lines.to_string()),
            ("first", line(&self.first)),
            ("last", line(&self.last)),
            ("end", end.to_owned()),
            ("signed", signed),
        ];
        let counted = [
            ("not covered yet", self.not_covered),
            ("repeated", self.repeated),
            ("gaps on record", self.gaps_on_record),
        ];
        members.extend(counted.into_iter().filter(|(_, n)| *n > 0).map(|(name, n)| (name, n.to_string())));
        members.extend(self.breaks_listed.iter().map(|b| ("break", format!("line {} in {}", b.seq, b.file))));
        members
    }
}
