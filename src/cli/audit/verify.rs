//! `leasehold audit verify`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use leasehold_sdk::clock;

use super::super::config::read;
use super::super::exit;
use super::super::output::Output;
use super::super::store;
use super::key;
use super::report::Verified;
use crate::audit::{Demands, Known, Stored, verify};
use crate::config::{AuditTo, Config};

/// The time in which lines are covered by a checkpoint, where nobody says it: the default of `audit_checkpoint_seconds`.
const CHECKPOINT_SECONDS: u64 = 10;
/// What a busy machine may add to it.
const PATIENCE: Duration = Duration::from_secs(50);

/// `leasehold audit verify`. Ends with 1 when the log is not whole.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// The files, oldest first: those that were rotated away before the present one. Lines of several brokers may stand between
    /// each other.
    #[arg(value_name = "FILE", required_unless_present = "config")]
    files: Vec<PathBuf>,
    /// The broker's configuration: its store knows of every chain and where it must end, its [seal] has the keys. With files, all
    /// chains of the store must be among them; without, the configured file is checked, which is this broker's chain.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// With --config: the files are this broker's alone.
    #[arg(long, requires = "config")]
    this_broker: bool,
    /// With --config: do without this chain, whose files are elsewhere. May be repeated.
    #[arg(long, value_name = "CHAIN", requires = "config")]
    without: Vec<String>,
    /// Public keys that check the signatures of checkpoints, as `audit key` prints them. May be repeated.
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// A copy of the same log, such as a collector's: the files must not end before it. May be repeated, oldest first.
    #[arg(long, value_name = "FILE")]
    against: Vec<PathBuf>,
    /// The files are a collector's: lines may stand twice, and those that the log itself says were lost on their way may be missing.
    #[arg(long)]
    collected: bool,
}

pub async fn run(args: VerifyArgs, output: Output) -> anyhow::Result<u8> {
    let config = args.config.as_deref().map(read).transpose()?;
    let keys = match (&config, args.key.as_slice()) {
        (Some(config), []) => key::of_config(config)?.unwrap_or_default(),
        (_, files) => key::of_files(files)?,
    };
    let mut demands = Demands { keys, ..Demands::default() };
    let checkpoint_seconds = config.as_ref().map_or(CHECKPOINT_SECONDS, |c| c.limits.audit_checkpoint_seconds);
    demands.covered_within = Duration::from_secs(checkpoint_seconds) + PATIENCE;
    let mut files = args.files;
    // What others know is read before the files are: a broker that is running writes on.
    if let Some(config) = &config {
        let own = args.this_broker || files.is_empty();
        if files.is_empty() {
            files.push(present_file(config)?);
        }
        demands.known = known_heads(config, own, &args.without).await?;
        demands.only = demands.known.first().filter(|_| own).map(|known| known.chain.clone());
    }
    if !args.against.is_empty() {
        let copy = Demands { stored: Stored::Copy, keys: demands.keys.clone(), ..Demands::default() };
        demands.known.extend(in_copy(args.against, copy).await?);
    }
    demands.now = (!demands.known.is_empty()).then(clock::wall);
    demands.stored = if args.collected { Stored::Collected } else { Stored::AsWritten };
    let report = tokio::task::spawn_blocking(move || verify(&files, &demands));
    let verified = Verified::of(report.await??);
    output.one(&verified, verified.members())?;
    Ok(if verified.whole { exit::DONE } else { exit::FAILED })
}

fn present_file(config: &Config) -> anyhow::Result<PathBuf> {
    let files = config.audit.iter().filter_map(|sink| match &sink.to {
        AuditTo::File(path) => Some(path.clone()),
        _ => None,
    });
    match files.collect::<Vec<_>>().as_slice() {
        [file] => Ok(file.clone()),
        [] => bail!("{} has no [[audit]] with a file: name the files", config.file.display()),
        _ => bail!("{} has several [[audit]] with files, which are the same log: name one", config.file.display()),
    }
}

/// The heads that the store knows: of all chains, or of the one of the broker whose `data_dir` is configured.
async fn known_heads(config: &Config, own: bool, without: &[String]) -> anyhow::Result<Vec<Known>> {
    let mut heads = store::audit_heads(config).await?;
    if heads.is_empty() {
        bail!("the store {} knows of no audit log yet", store::name(config));
    }
    if let Some(unknown) = without.iter().find(|chain| !heads.iter().any(|(known, _)| known == *chain)) {
        bail!("--without {unknown}: the store {} knows of no such chain", store::name(config));
    }
    if own {
        if let Ok(id) = std::fs::read_to_string(config.broker.data_dir.join("broker.id")) {
            heads.retain(|(chain, _)| chain.ends_with(&format!("-{}", id.trim_end())));
        }
        if heads.len() != 1 {
            let which =
                if heads.is_empty() { "knows of none of" } else { "knows of several audit logs, and no broker.id in" };
            bail!("the store {} {which} the broker in {}", store::name(config), config.broker.data_dir.display());
        }
    }
    heads.retain(|(chain, _)| !without.contains(chain));
    let by = || format!("the store {}", store::name(config));
    Ok(heads.into_iter().map(|(chain, head)| Known { chain, head, by: by(), is_required: true }).collect())
}

/// Where the chains end in a copy.
async fn in_copy(files: Vec<PathBuf>, demands: Demands) -> anyhow::Result<Vec<Known>> {
    let by = match files.as_slice() {
        [file] => format!("the copy {}", file.display()),
        _ => "the copy".to_owned(),
    };
    let report = tokio::task::spawn_blocking(move || verify(&files, &demands)).await?;
    let chains = report.context("the copy is not whole itself")?.chains;
    let known = chains.into_iter().filter_map(|c| Some((c.chain, c.head?)));
    Ok(known.map(|(chain, head)| Known { chain, head, by: by.clone(), is_required: false }).collect())
}
