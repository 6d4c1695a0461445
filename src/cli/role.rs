//! `leasehold role`.

use clap::Subcommand;

use super::connect::ConnectArgs;
use super::exit;
use super::output::Output;

#[derive(Debug, Subcommand)]
pub enum RoleCommand {
    /// The roles that you may mint.
    List(ListArgs),
}

#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    broker: ConnectArgs,
}

pub async fn run(command: RoleCommand, output: Output) -> anyhow::Result<u8> {
    let RoleCommand::List(args) = command;
    let list = args.broker.with_client(async |client| Ok(client.roles().await?)).await?;
    let rows = list.roles.iter().cloned().map(|role| [role.name, role.target, role.kind, role.ttl, role.max_ttl]);
    output.list(&list, ["NAME", "TARGET", "KIND", "TTL", "MAX TTL"], rows)?;
    Ok(exit::DONE)
}
