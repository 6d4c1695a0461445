//! `leasehold audit key`.

use std::path::PathBuf;

use anyhow::bail;
use serde::Serialize;

use super::super::config::{ConfigArgs, read};
use super::super::exit;
use super::super::output::{self, Output};
use crate::config::Config;
use crate::seal::{KeyRing, VerifyingKey};

/// `leasehold audit key`: what others need to check the checkpoints by.
#[derive(Debug, clap::Args)]
pub struct KeyArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Serialize)]
struct Keys {
    keys: Vec<PublicKey>,
}

#[derive(Serialize)]
struct PublicKey {
    id: String,
    /// Whether it signs now, or did before.
    current: bool,
    pem: String,
}

pub fn run(args: &KeyArgs, output: Output) -> anyhow::Result<u8> {
    let config = read(&args.config.config)?;
    let Some(keys) = of_config(&config)? else {
        bail!(
            "{} has no [seal]: without a key the checkpoints of the audit log are not signed, and nobody can tell whether it \
             was rewritten as a whole",
            config.file.display()
        );
    };
    let public =
        |(n, key): (usize, &VerifyingKey)| PublicKey { id: key.id().to_string(), current: n == 0, pem: key.to_pem() };
    let keys = Keys { keys: keys.iter().enumerate().map(public).collect() };
    match output {
        Output::Json => output::json(&keys)?,
        Output::Table => output::print(&keys.keys.iter().map(PublicKey::text).collect::<String>())?,
    }
    Ok(exit::DONE)
}

impl PublicKey {
    /// As a file for `audit verify --key`, and for any tool that reads PEM.
    fn text(&self) -> String {
        let since = if self.current { "the current key" } else { "an earlier key" };
        format!("# {since} of the audit log's checkpoints: {}\n{}", self.id, self.pem)
    }
}

/// The keys of a configuration: current first. `None`: it has none.
pub fn of_config(config: &Config) -> anyhow::Result<Option<Vec<VerifyingKey>>> {
    let Some(seal) = &config.seal else { return Ok(None) };
    Ok(Some(KeyRing::read(&seal.key, &seal.old_keys)?.verifying_keys()?))
}

/// Reads files with public keys.
pub(super) fn of_files(files: &[PathBuf]) -> anyhow::Result<Vec<VerifyingKey>> {
    let mut all = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).map_err(|why| anyhow::anyhow!("{}: {why}", file.display()))?;
        let keys = VerifyingKey::all_from_pem(&text);
        all.extend(
            keys.map_err(|why| anyhow::anyhow!("{}: {why}: `leasehold audit key` prints keys", file.display()))?,
        );
    }
    Ok(all)
}
