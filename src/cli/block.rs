//! `leasehold identity block | unblock | blocks`.

use leasehold_client::wire::BlockRequest;
use leasehold_identity::SpiffeId;

use super::connect::OperatorArgs;
use super::exit;
use super::output::Output;

#[derive(Debug, clap::Args)]
pub struct BlockArgs {
    /// Who, such as spiffe://prod.example.org/ns/billing/sa/api
    #[arg(value_name = "SPIFFE_ID")]
    id: SpiffeId,
    /// Why, for whoever reads it later.
    #[arg(long, value_name = "TEXT")]
    because: Option<String>,
    #[command(flatten)]
    broker: OperatorArgs,
}

#[derive(Debug, clap::Args)]
pub struct UnblockArgs {
    /// Who.
    #[arg(value_name = "SPIFFE_ID")]
    id: SpiffeId,
    #[command(flatten)]
    broker: OperatorArgs,
}

#[derive(Debug, clap::Args)]
pub struct BlocksArgs {
    #[command(flatten)]
    broker: OperatorArgs,
}

/// Refuses an identity everything from now on. Its leases live on: end them with `lease revoke --identity`.
pub async fn block(args: BlockArgs, output: Output) -> anyhow::Result<u8> {
    let ask = BlockRequest { identity: args.id.to_string(), reason: args.because };
    let done = args.broker.with_client(async |client| Ok(client.block(&ask).await?)).await?;
    let was = if done.changed { "yes" } else { "was blocked before" };
    output.one(&done, [("identity", done.identity.clone()), ("blocked", was.to_owned())])?;
    Ok(exit::DONE)
}

/// Lifts a block.
pub async fn unblock(args: UnblockArgs, output: Output) -> anyhow::Result<u8> {
    let ask = BlockRequest { identity: args.id.to_string(), reason: None };
    let done = args.broker.with_client(async |client| Ok(client.unblock(&ask).await?)).await?;
    let was = if done.changed { "no" } else { "was not blocked" };
    output.one(&done, [("identity", done.identity.clone()), ("blocked", was.to_owned())])?;
    Ok(exit::DONE)
}

/// All blocks.
pub async fn list(args: BlocksArgs, output: Output) -> anyhow::Result<u8> {
    let list = args.broker.with_client(async |client| Ok(client.blocks().await?)).await?;
    let rows = list.blocks.iter().cloned().map(|b| [b.identity, b.at, b.by, b.reason.unwrap_or_default()]);
    output.list(&list, ["IDENTITY", "SINCE", "BY", "WHY"], rows)?;
    Ok(exit::DONE)
}
