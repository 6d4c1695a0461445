//! `leasehold broker`.

use std::collections::BTreeSet;

use clap::Subcommand;

use super::connect::OperatorArgs;
use super::exit;
use super::output::Output;

/// Digits of a configuration's hash that are shown to people.
const HASH_SHOWN: usize = 12;

#[derive(Debug, Subcommand)]
pub enum BrokerCommand {
    /// The brokers that work on the store: who is alive, with which version and configuration, and what each is ending.
    List(ListArgs),
}

#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    broker: OperatorArgs,
}

pub async fn run(command: BrokerCommand, output: Output) -> anyhow::Result<u8> {
    let BrokerCommand::List(args) = command;
    let list = args.broker.with_client(async |client| Ok(client.brokers().await?)).await?;
    let configs: BTreeSet<_> = list.brokers.iter().filter(|b| b.alive).map(|b| b.config.as_str()).collect();
    // Those that differ are the ones to look at.
    let mark = if configs.len() > 1 { " (differs)" } else { "" };
    let rows = list.brokers.iter().cloned().map(|broker| {
        let config: String = broker.config.chars().take(HASH_SHOWN).collect();
        let alive = if broker.alive { "alive" } else { "dead" };
        let marked = if broker.alive { format!("{config}{mark}") } else { config };
        [broker.id, alive.to_owned(), broker.host, broker.version, marked, broker.claimed.to_string(), broker.seen_at]
    });
    output.list(&list, ["ID", "STATE", "HOST", "VERSION", "CONFIG", "ENDING", "LAST SEEN"], rows)?;
    Ok(exit::DONE)
}
