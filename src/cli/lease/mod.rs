//! `leasehold lease`.

mod end;
mod many;

use clap::Subcommand;
use leasehold_client::wire::{Lease, LeaseList, LeaseQuery, LeaseResponse, RenewRequest};

use super::connect::{ConnectArgs, OperatorArgs};
use super::exit;
use super::output::Output;
use super::value::duration;

#[derive(Debug, Subcommand)]
pub enum LeaseCommand {
    /// The leases that you may see, newest first.
    List(ListArgs),
    /// One lease.
    Show(ShowArgs),
    /// Move the end of one of your leases.
    Renew(RenewArgs),
    /// End leases: by their ids, or all of an identity, role or target.
    Revoke(end::RevokeArgs),
}

#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Only of this role.
    #[arg(long)]
    role: Option<String>,
    /// Only in this target.
    #[arg(long)]
    target: Option<String>,
    /// Only of this SPIFFE ID.
    #[arg(long, value_name = "SPIFFE_ID")]
    identity: Option<String>,
    /// Only in this state: pending, active, revoking, revoked or expired.
    #[arg(long)]
    state: Option<String>,
    #[command(flatten)]
    broker: OperatorArgs,
}

#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// Its id.
    id: String,
    #[command(flatten)]
    broker: OperatorArgs,
}

#[derive(Debug, clap::Args)]
pub struct RenewArgs {
    /// Its id.
    id: String,
    /// How long it is to live from now on, such as 15m [default: the role's ttl]
    #[arg(long, value_parser = duration)]
    ttl: Option<String>,
    #[command(flatten)]
    broker: ConnectArgs,
}

pub async fn run(command: LeaseCommand, output: Output) -> anyhow::Result<u8> {
    match command {
        LeaseCommand::List(args) => list(args, output).await?,
        LeaseCommand::Show(args) => {
            let lease = args.broker.with_client(async |client| Ok(client.lease(&args.id).await?)).await?;
            show(lease, output)?;
        }
        LeaseCommand::Renew(args) => {
            let ask = RenewRequest { ttl: args.ttl };
            let lease = args.broker.with_client(async |client| Ok(client.renew(&args.id, &ask).await?)).await?;
            show(lease, output)?;
        }
        LeaseCommand::Revoke(args) => return end::run(args, output).await,
    }
    Ok(exit::DONE)
}

async fn list(args: ListArgs, output: Output) -> anyhow::Result<()> {
    let ListArgs { role, target, identity, state, broker } = args;
    let ask = LeaseQuery { role, target, identity, state, ..LeaseQuery::default() };
    let leases = broker.with_client(async |client| Ok(client.all_leases(&ask).await?)).await?;
    let all = LeaseList { leases, next_cursor: None };
    let rows = all.leases.iter().map(row).collect::<Vec<_>>();
    output.list(&all, ["LEASE", "ROLE", "TARGET", "IDENTITY", "STATE", "EXPIRES", "ACCOUNT"], rows)
}

fn row(lease: &Lease) -> [String; 7] {
    let Lease { id, role, target, identity, state, expires_at, account, .. } = lease.clone();
    [id, role, target, identity, state, expires_at, account]
}

/// Prints one lease, as the API answers it.
fn show(lease: Lease, output: Output) -> anyhow::Result<()> {
    let answer = LeaseResponse { lease };
    output.one(&answer, members(&answer.lease))
}

fn members(lease: &Lease) -> Vec<(&'static str, String)> {
    let yes_no = |is: bool| if is { "yes" } else { "no" }.to_owned();
    let mut members = vec![
        ("lease", lease.id.clone()),
        ("role", lease.role.clone()),
        ("target", lease.target.clone()),
        ("identity", lease.identity.clone()),
        ("account", lease.account.clone()),
        ("state", lease.state.clone()),
        ("ended by", lease.ended_by.clone().unwrap_or_default()),
        ("issued", lease.issued_at.clone()),
        ("expires", lease.expires_at.clone()),
        ("expires at the latest", lease.max_expires_at.clone()),
        ("to be replaced from", lease.rotate_at.clone()),
        ("renewable", yes_no(lease.renewable)),
        ("revocable", lease.revocable.clone()),
        ("no login after", lease.worst_case_until.clone().unwrap_or_else(|| "unbounded".to_owned())),
    ];
    members.extend(lease.attempts.map(|n| ("failed attempts to end it", n.to_string())));
    members.extend(lease.last_error.clone().map(|error| ("last error", error)));
    members
}
