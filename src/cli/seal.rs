//! `leasehold seal`.

use clap::Subcommand;

use super::connect::ConnectArgs;
use super::exit;
use super::output::Output;

#[derive(Debug, Subcommand)]
pub enum SealCommand {
    /// Seal every secret that is kept by the current key, so that the old ones can be taken out of the configuration. Audited.
    Rotate(RotateArgs),
}

#[derive(Debug, clap::Args)]
pub struct RotateArgs {
    #[command(flatten)]
    broker: ConnectArgs,
}

/// 1 when a secret is sealed by a key that the broker does not have.
pub async fn run(command: SealCommand, output: Output) -> anyhow::Result<u8> {
    let SealCommand::Rotate(args) = command;
    let done = args.broker.with_client(async |client| Ok(client.rotate_seal().await?)).await?;
    let rows = [("sealed anew", done.resealed.to_string()), ("sealed by an unknown key", done.unreadable.to_string())];
    output.one(&done, rows)?;
    Ok(if done.unreadable == 0 { exit::DONE } else { exit::FAILED })
}
