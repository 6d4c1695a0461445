//! `leasehold get`.

use anyhow::Context;
use leasehold_client::Client;
use leasehold_client::wire::{Lease, MintRequest};
use zeroize::Zeroizing;

use super::connect::ConnectArgs;
use super::exit;
use super::format::readable;
use super::output::{self, Output};
use super::value::AskArgs;
use crate::agent::forms::{self, Form, Opened, formed, whole_json};

/// `leasehold get ROLE`.
#[derive(Debug, clap::Args)]
pub struct GetArgs {
    /// The role to ask for.
    role: String,
    /// How to print the credential, instead of --output.
    #[arg(long, value_enum)]
    format: Option<Form>,
    #[command(flatten)]
    ask: AskArgs,
    /// The lease that it is to take the place of.
    #[arg(long, value_name = "LEASE")]
    replaces: Option<String>,
    #[command(flatten)]
    broker: ConnectArgs,
}

/// Fetches one credential and prints it.
pub async fn run(args: GetArgs, output: Output) -> anyhow::Result<u8> {
    let GetArgs { role, format, ask, replaces, broker } = args;
    let ask = MintRequest { ttl: ask.ttl, params: ask.params.given(), scope: ask.scope, replaces };
    broker.with_client(async |client| get(client, &role, &ask, format, output).await).await?;
    Ok(exit::DONE)
}

async fn get(
    client: &Client,
    role: &str,
    ask: &MintRequest,
    format: Option<Form>,
    output: Output,
) -> anyhow::Result<()> {
    let issued = client.mint(role, ask).await?;
    let lease = issued.lease.as_ref();
    let printed = forms::open(&issued.credential).and_then(|opened| print(role, lease, &opened, format, output));
    let Err(error) = printed else { return Ok(()) };
    let Some(id) = lease.map(|lease| lease.id.as_str()) else {
        return Err(error.context("the token could not be printed; it has no lease, and ends by itself"));
    };
    // Nobody has it, so nobody would end it before its time.
    match client.revoke(id).await {
        Ok(_) => Err(error.context("the credential could not be printed, so it was revoked")),
        Err(why) => {
            Err(error.context(format!("the credential could not be printed, nor the lease {id} revoked ({why})")))
        }
    }
}

fn print(
    role: &str,
    lease: Option<&Lease>,
    opened: &Opened,
    format: Option<Form>,
    output: Output,
) -> anyhow::Result<()> {
    let text: Zeroizing<String> = match (format, output) {
        (Some(format), _) => formed(format, role, lease, opened)?,
        (None, Output::Json) => whole_json(lease, opened)?,
        (None, Output::Table) => readable(lease, opened),
    };
    output::write(text.as_bytes()).context("standard output")
}
