//! `leasehold target`.

use clap::Subcommand;
use leasehold_client::wire::RotateAdminRequest;

use super::connect::ConnectArgs;
use super::output::{Output, safe};
use super::{exit, question};

#[derive(Debug, Subcommand)]
pub enum TargetCommand {
    /// Close the leases of a target that is gone for good, without ending them there. Audited.
    Forget(ForgetArgs),
    /// Give the admin login of a target a password that nobody has seen, sealed in the broker's store. Audited.
    RotateAdmin(RotateAdminArgs),
}

#[derive(Debug, clap::Args)]
pub struct RotateAdminArgs {
    /// The target.
    target: String,
    /// Rotate although nobody could recover the password without the broker's store and seal key.
    #[arg(long)]
    no_recovery: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    broker: ConnectArgs,
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
    match command {
        TargetCommand::Forget(args) => forget(args, output).await,
        TargetCommand::RotateAdmin(args) => rotate_admin(args, output).await,
    }
}

async fn rotate_admin(args: RotateAdminArgs, output: Output) -> anyhow::Result<u8> {
    let question =
        format!("Change the admin password of the target {}? The one that is known now ends.", safe(&args.target));
    if !question::confirmed(question, args.yes).await? {
        return Ok(exit::FAILED);
    }
    let ask = RotateAdminRequest { no_recovery: args.no_recovery.then_some(true) };
    let target = args.target;
    let done = args.broker.with_client(async |client| Ok(client.rotate_admin(&target, &ask).await?)).await?;
    let recoverable = if done.recoverable { "yes" } else { "no" };
    let rows = [("target", target), ("password", done.generation.to_string()), ("recoverable", recoverable.to_owned())];
    output.one(&done, rows)?;
    Ok(exit::DONE)
}

async fn forget(args: ForgetArgs, output: Output) -> anyhow::Result<u8> {
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
