//! The signing keys.

use leasehold_client::wire::{RotateKeyRequest, TokenKeyList};

use super::super::connect::ConnectArgs;
use super::super::output::Output;
use super::super::{exit, question};

#[derive(Debug, clap::Args)]
pub struct KeysArgs {
    #[command(flatten)]
    broker: ConnectArgs,
}

#[derive(Debug, clap::Args)]
pub struct RotateArgs {
    /// Keys of workloads' tokens of this algorithm only: ES256, EdDSA or RS256. All keys that are in use unless said.
    #[arg(long, value_name = "ALG")]
    algorithm: Option<String>,
    /// Only the keys by which the broker asserts to clouds.
    #[arg(long, conflicts_with = "algorithm")]
    cloud: bool,
    /// For a key that was lost or leaked: the new one signs at once, and whatever was signed before is worth nothing.
    #[arg(long)]
    emergency: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    broker: ConnectArgs,
}

pub async fn list(args: KeysArgs, output: Output) -> anyhow::Result<u8> {
    let keys = args.broker.with_client(async |client| Ok(client.token_keys().await?)).await?;
    show(&keys, output)
}

pub async fn rotate(args: RotateArgs, output: Output) -> anyhow::Result<u8> {
    let RotateArgs { algorithm, cloud, emergency, yes, broker } = args;
    let question = match cloud {
        true => "Clouds take nothing from the broker until they have read the keys again. Go ahead?",
        false => "All tokens that are out are worth nothing once verifiers read the keys again. Go ahead?",
    };
    if emergency && !question::confirmed(question.to_owned(), yes).await? {
        return Ok(exit::FAILED);
    }
    let ask = RotateKeyRequest { algorithm, cloud: cloud.then_some(true), emergency: Some(emergency) };
    let keys = broker.with_client(async |client| Ok(client.rotate_token_keys(&ask).await?)).await?;
    show(&keys, output)
}

fn show(keys: &TokenKeyList, output: Output) -> anyhow::Result<u8> {
    let row = |key: leasehold_client::wire::TokenKey| {
        let signs = if key.cloud { "assertions to clouds" } else { "tokens" };
        [key.algorithm, signs.to_owned(), key.generation.to_string(), key.state, key.kid, key.made_at]
    };
    output.list(
        keys,
        ["ALGORITHM", "SIGNS", "GENERATION", "STATE", "KID", "MADE"],
        keys.keys.iter().cloned().map(row),
    )?;
    Ok(exit::DONE)
}
