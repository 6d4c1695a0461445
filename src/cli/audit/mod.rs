//! `leasehold audit`.

mod tail;
mod verify;

use clap::Subcommand;

use super::output::Output;

#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Find a changed, dropped, reordered or inserted line; with --config also a tail that was cut off.
    Verify(verify::VerifyArgs),
    /// Print the last lines, and follow what is written.
    Tail(tail::TailArgs),
}

pub async fn run(command: AuditCommand, output: Output) -> anyhow::Result<u8> {
    match command {
        AuditCommand::Verify(args) => verify::run(args, output).await,
        AuditCommand::Tail(args) => tail::run(args, output).await,
    }
}
