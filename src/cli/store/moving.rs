//! `leasehold store`: moving it to another place.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Subcommand;
use leasehold_sdk::{Timestamp, clock};

use super::super::config::{ConfigArgs, read};
use super::super::exit;
use super::super::output::Output;
use super::{link, name};
use crate::audit::Event;
use crate::config::{Config, StoreConfig};
use crate::lease::DEAD_AFTER;
use crate::store::moving::{self, Moved, Sink, Source};
use crate::store::{OutboxEntry, OutboxLine, StoreError, postgres, sqlite};
use crate::telemetry::process;

#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Take the store out of use and write all of it into a file, to be imported elsewhere. Its brokers must be stopped; no
    /// lease ends.
    Export(ExportArgs),
    /// Fill the empty store that the configuration names from a file, whole or not at all.
    Import(ImportArgs),
    /// Put a store that was exported into use again: only if what was exported was never put in use elsewhere.
    Reopen(ReopenArgs),
}

#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The file to write; it must not be there yet.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// A file that `leasehold store export` wrote.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
}

#[derive(Debug, clap::Args)]
pub struct ReopenArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

pub async fn run(command: StoreCommand, output: Output) -> anyhow::Result<u8> {
    process::deny_driver_environment()?;
    match command {
        StoreCommand::Export(args) => export(&read(&args.config.config)?, &args.to, output).await,
        StoreCommand::Import(args) => import(&read(&args.config.config)?, &args.from, output).await,
        StoreCommand::Reopen(args) => {
            let config = read(&args.config.config)?;
            reopen(&config).await.with_context(|| name(&config))?;
            Ok(exit::DONE)
        }
    }
}

async fn export(config: &Config, to: &Path, output: Output) -> anyhow::Result<u8> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    let mut out = BufWriter::new(file.with_context(|| format!("{} cannot be made", to.display()))?);
    let at = clock::wall();
    let written = async {
        let mut source = take(config, at).await?;
        let moved = moving::export(&mut *source, at, &mut out).await?;
        out.flush()?;
        out.get_ref().sync_all()?;
        anyhow::Ok(moved)
    };
    match written.await {
        Ok(moved) => tell(&moved, output),
        Err(e) => {
            // Half of a file would only be refused later.
            let _ = std::fs::remove_file(to);
            Err(e).with_context(|| format!("the store {} was not exported", name(config)))
        }
    }
}

async fn import(config: &Config, from: &Path, output: Output) -> anyhow::Result<u8> {
    let file = File::open(from).with_context(|| format!("{} cannot be read", from.display()))?;
    let what = || format!("nothing was imported into the store {}", name(config));
    let sink = fill(config).await.with_context(what)?;
    let cluster = config.broker.cluster.as_str();
    let moved = moving::import(&mut BufReader::new(file), cluster, sink, on_record).await.with_context(what)?;
    tell(&moved, output)
}

/// The line that the first broker on the new store puts into its audit log.
fn on_record(moved: &Moved) -> OutboxLine {
    let note = format!("{} leases, {} rows", moved.leases, moved.rows);
    let event = serde_json::to_value(Event::Broker { what: "store_imported".into(), note: Some(note) });
    let event = event.ok().and_then(|event| event.as_object().cloned()).unwrap_or_default();
    OutboxLine { number: 0, at: clock::wall(), entry: OutboxEntry::Event(event) }
}

fn tell(moved: &Moved, output: Output) -> anyhow::Result<u8> {
    let rows = [
        ("cluster", moved.cluster.clone()),
        ("tag", moved.tag.clone()),
        ("leases", moved.leases.to_string()),
        ("rows", moved.rows.to_string()),
    ];
    output.one(moved, rows)?;
    Ok(exit::DONE)
}

async fn take(config: &Config, at: Timestamp) -> Result<Box<dyn Source>, StoreError> {
    let cluster = &config.broker.cluster;
    match &config.store {
        StoreConfig::Sqlite(path) => sqlite::moving::take(path, cluster, at).await,
        StoreConfig::Postgres(store) => postgres::moving::take(&link(config, store), cluster, at, DEAD_AFTER).await,
    }
}

async fn fill(config: &Config) -> Result<Box<dyn Sink>, StoreError> {
    match &config.store {
        StoreConfig::Sqlite(path) => sqlite::moving::fill(path).await,
        StoreConfig::Postgres(store) => postgres::moving::fill(&link(config, store)).await,
    }
}

async fn reopen(config: &Config) -> Result<(), StoreError> {
    let cluster = &config.broker.cluster;
    match &config.store {
        StoreConfig::Sqlite(path) => sqlite::moving::reopen(path, cluster).await,
        StoreConfig::Postgres(store) => postgres::moving::reopen(&link(config, store), cluster).await,
    }
}
