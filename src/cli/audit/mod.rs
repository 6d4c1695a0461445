//! `leasehold audit`.

mod key;
mod report;
mod tail;
mod verify;

use clap::Subcommand;

use super::output::Output;

pub(super) use key::of_config as public_keys;

#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Find a changed, dropped, reordered or inserted line; with --config or --against also a tail that was cut off, with --key
    /// or --config also a log that was written anew.
    Verify(verify::VerifyArgs),
    /// Print the public keys by which others can tell that the log was not written anew.
    Key(key::KeyArgs),
    /// Print the last lines, and follow what is written.
    Tail(tail::TailArgs),
}

pub async fn run(command: AuditCommand, output: Output) -> anyhow::Result<u8> {
    match command {
        AuditCommand::Verify(args) => verify::run(args, output).await,
        AuditCommand::Key(args) => key::run(&args, output),
        AuditCommand::Tail(args) => tail::run(args, output).await,
    }
}
