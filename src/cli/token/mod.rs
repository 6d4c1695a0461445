//! `leasehold token`.

mod export;
mod keys;

use clap::Subcommand;

use super::output::Output;

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// The signing keys: which sign, and which are published only.
    Keys(keys::KeysArgs),
    /// Begin another signing key. Audited.
    RotateKey(keys::RotateArgs),
    /// Write what the issuer publishes as files, for verifiers that cannot reach it.
    ExportDiscovery(export::ExportArgs),
}

pub async fn run(command: TokenCommand, output: Output) -> anyhow::Result<u8> {
    match command {
        TokenCommand::Keys(args) => keys::list(args, output).await,
        TokenCommand::RotateKey(args) => keys::rotate(args, output).await,
        TokenCommand::ExportDiscovery(args) => export::run(args).await,
    }
}
