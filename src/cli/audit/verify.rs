//! `leasehold audit verify`.

use std::path::PathBuf;

use anyhow::bail;
use leasehold_sdk::Timestamp;
use serde::Serialize;

use super::super::config::read;
use super::super::exit;
use super::super::output::Output;
use super::super::store;
use crate::audit::{HeadCheck, Report, verify};
use crate::config::{AuditTo, Config};
use crate::store::AuditHead;

/// `leasehold audit verify`. Ends with 1 when the log is not whole.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// The files of one log, oldest first: those that were rotated away before the present one.
    #[arg(value_name = "FILE", required_unless_present = "config")]
    files: Vec<PathBuf>,
    /// The broker's configuration: its store knows where the log must end. Names the present file, too, if none is given.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Verified {
    chain: Option<String>,
    lines: u64,
    first: Option<Line>,
    last: Option<Line>,
    /// `found`, `before_first` or `not_given`.
    known_head: &'static str,
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

pub async fn run(args: VerifyArgs, output: Output) -> anyhow::Result<u8> {
    let config = args.config.as_deref().map(read).transpose()?;
    let files = match &config {
        Some(config) if args.files.is_empty() => vec![present_file(config)?],
        _ => args.files,
    };
    // Read before the files are: a broker that is running writes on.
    let known = match &config {
        Some(config) => Some(known_head(config).await?),
        None => None,
    };
    let report = tokio::task::spawn_blocking(move || {
        let (chain, head) = known.as_ref().map(|(chain, head)| (chain.as_str(), head)).unzip();
        verify(&files, head, chain)
    });
    let verified = Verified::of(report.await??);
    output.one(&verified, verified.members())?;
    Ok(if verified.breaks == 0 { exit::DONE } else { exit::FAILED })
}

fn present_file(config: &Config) -> anyhow::Result<PathBuf> {
    let files = config.audit.iter().filter_map(|sink| match &sink.to {
        AuditTo::File(path) => Some(path.clone()),
        AuditTo::Stdout => None,
    });
    match files.collect::<Vec<_>>().as_slice() {
        [file] => Ok(file.clone()),
        [] => bail!("{} has no [[audit]] with a file: name the files", config.file.display()),
        _ => bail!("{} has several [[audit]] with files, which are the same log: name one", config.file.display()),
    }
}

async fn known_head(config: &Config) -> anyhow::Result<(String, AuditHead)> {
    let mut heads = store::audit_heads(config).await?;
    // Each broker of a store has a chain of its own; this file is of the one whose data_dir is configured.
    if let Ok(id) = std::fs::read_to_string(config.broker.data_dir.join("broker.id")) {
        heads.retain(|(chain, _)| chain.ends_with(&format!("-{}", id.trim_end())));
    }
    match <[_; 1]>::try_from(heads) {
        Ok([head]) => Ok(head),
        Err(none) if none.is_empty() => bail!("the store {} knows of no audit log yet", store::name(config)),
        Err(_) => bail!("the store {} knows of several audit logs", store::name(config)),
    }
}

impl Verified {
    fn of(report: Report) -> Self {
        let line = |(seq, at)| Line { seq, at };
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
            breaks: report.breaks,
            breaks_listed: report.breaks_listed.into_iter().map(|(seq, file)| Break { seq, file }).collect(),
        }
    }

    fn members(&self) -> Vec<(&'static str, String)> {
        let line = |line: &Option<Line>| line.as_ref().map(|l| format!("{} at {}", l.seq, l.at)).unwrap_or_default();
        let end = match self.known_head {
            "found" => "the store's last known line is there",
            "before_first" => "the files begin after the store's last known line",
            _ => "not checked: add --config to find a tail that was cut off",
        };
        let whole = if self.breaks == 0 { "yes" } else { "no: lines were already missing when a broker started" };
        let mut members = vec![
            ("whole", whole.to_owned()),
            ("chain", self.chain.clone().unwrap_or_default()),
            ("lines", self.lines.to_string()),
            ("first", line(&self.first)),
            ("last", line(&self.last)),
            ("end", end.to_owned()),
        ];
        members.extend(self.breaks_listed.iter().map(|b| ("break", format!("line {} in {}", b.seq, b.file))));
        members
    }
}
