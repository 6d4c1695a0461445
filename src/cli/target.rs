//! `leasehold target`.

use clap::Subcommand;

use super::connect::ConnectArgs;
use super::output::{Output, safe};
use super::{exit, question};

#[derive(Debug, Subcommand)]
pub enum TargetCommand {
    /// Close the leases of a target that is gone for good, without ending them there. Audited.
    Forget(ForgetArgs),
}

#[derive(Debug, clap::Args)]
pub struct ForgetArgs {
    /// The target.
    target: String,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    broker: ConnectArgs,
}

pub async fn run(command: TargetCommand, output: Output) -> anyhow::Result<u8> {
    let TargetCommand::Forget(args) = command;
    let question = format!(
        "Close the leases of the target {} although their accounts may still be alive in it?",
        safe(&args.target)
    );
    if !question::confirmed(question, args.yes).await? {
        return Ok(exit::FAILED);
    }
    let target = args.target;
    let forgotten = args.broker.with_client(async |client| Ok(client.forget_target(&target).await?)).await?;
    output.one(&forgotten, [("target", target), ("leases closed", forgotten.closed.to_string())])?;
    Ok(exit::DONE)
}
