//! `leasehold lease revoke`.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::ArgGroup;
use leasehold_client::wire::{Lease, LeaseList, LeaseQuery, RevokeManyRequest, RevokeManyResponse, Selector};
use leasehold_client::{Client, ClientError};

use super::super::connect::ConnectArgs;
use super::super::output::{Output, safe};
use super::super::{exit, question};
use super::{row, show};

/// How long one look at a lease waits for its end.
const LOOK: Duration = Duration::from_secs(30);
/// Waits between two looks at many leases.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(3);
/// How often an order is given again because leases were issued between counting and ordering.
const ORDERS_MAX: usize = 5;

/// `leasehold lease revoke`. Without `--wait` it returns when the end is recorded and cannot be lost any more.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("which").required(true).args(["ids", "identity", "role", "target", "all"]))]
pub struct RevokeArgs {
    /// These leases.
    #[arg(value_name = "LEASE")]
    ids: Vec<String>,
    /// All of this SPIFFE ID.
    #[arg(long, value_name = "SPIFFE_ID")]
    identity: Option<String>,
    /// All of this role.
    #[arg(long)]
    role: Option<String>,
    /// All in this target.
    #[arg(long)]
    target: Option<String>,
    /// All there are.
    #[arg(long)]
    all: bool,
    /// Only count what --identity, --role, --target or --all mean.
    #[arg(long, conflicts_with = "ids")]
    dry_run: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Return when all of them are dead.
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
    #[command(flatten)]
    broker: ConnectArgs,
}

pub async fn run(args: RevokeArgs, output: Output) -> anyhow::Result<u8> {
    let Some(selector) = selector(&args) else {
        let RevokeArgs { ids, wait, broker, .. } = args;
        return broker.with_client(async |client| each(client, &ids, wait, output).await).await;
    };
    let RevokeArgs { dry_run, yes, wait, broker, .. } = args;
    broker.with_client(async |client| many(client, selector, dry_run, yes, wait, output).await).await
}

fn selector(args: &RevokeArgs) -> Option<Selector> {
    let identity = args.identity.clone().map(Selector::Identity);
    let role = || args.role.clone().map(Selector::Role);
    let target = || args.target.clone().map(Selector::Target);
    identity.or_else(role).or_else(target).or(args.all.then_some(Selector::All))
}

/// Ends leases by their ids. One that cannot be ended does not keep the others alive.
async fn each(client: &Client, ids: &[String], wait: bool, output: Output) -> anyhow::Result<u8> {
    let mut ended = Vec::new();
    let mut failed = Vec::new();
    for id in ids {
        match client.revoke(id).await {
            Ok(lease) => ended.push(lease),
            Err(error) => failed.push(anyhow!(error).context(format!("lease {}", safe(id)))),
        }
    }
    if wait {
        for lease in &mut ended {
            *lease = dead(client, lease.clone()).await?;
        }
    }
    match <[Lease; 1]>::try_from(ended) {
        Ok([lease]) if ids.len() == 1 => show(lease, output)?,
        Ok(one) => show_all(one.into(), output)?,
        Err(all) if all.is_empty() => {}
        Err(all) => show_all(all, output)?,
    }
    let code = if failed.is_empty() { exit::DONE } else { exit::FAILED };
    let last = failed.pop();
    for error in failed {
        eprintln!("leasehold: {}", exit::causes(&error));
    }
    last.map_or(Ok(code), Err)
}

fn show_all(leases: Vec<Lease>, output: Output) -> anyhow::Result<()> {
    let all = LeaseList { leases, next_cursor: None };
    let rows = all.leases.iter().map(row).collect::<Vec<_>>();
    output.list(&all, ["LEASE", "ROLE", "TARGET", "IDENTITY", "STATE", "EXPIRES", "ACCOUNT"], rows)
}

/// Waits until a lease is dead, for as long as it takes.
async fn dead(client: &Client, mut lease: Lease) -> anyhow::Result<Lease> {
    let mut pause = PAUSE_MIN;
    while !lease.is_over() {
        match client.lease_while(&lease.id, &lease.state, LOOK).await {
            Ok(now) => lease = now,
            Err(error) if error.is_transient() => {
                tokio::time::sleep(pause).await;
                pause = PAUSE_MAX.min(pause * 2);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(lease)
}

async fn many(
    client: &Client,
    selector: Selector,
    dry_run: bool,
    yes: bool,
    wait: bool,
    output: Output,
) -> anyhow::Result<u8> {
    let counted = count(client, &selector).await?;
    if dry_run || counted.matched == 0 {
        show_order(&counted, output)?;
        return Ok(exit::DONE);
    }
    let question = format!("End {} leases ({})?", counted.matched, describe(&selector));
    if !question::confirmed(question, yes).await? {
        return Ok(exit::FAILED);
    }
    let taken = order(client, &selector, counted.matched).await?;
    if wait {
        all_dead(client, &selector).await?;
    }
    show_order(&taken, output)?;
    Ok(exit::DONE)
}

async fn count(client: &Client, selector: &Selector) -> Result<RevokeManyResponse, ClientError> {
    let ask = RevokeManyRequest { dry_run: Some(true), ..RevokeManyRequest::of(selector.clone()) };
    client.revoke_many(&ask).await
}

/// Gives the order for what was counted. A busy service has more leases a moment later; then it is counted again.
async fn order(client: &Client, selector: &Selector, mut expect: u64) -> anyhow::Result<RevokeManyResponse> {
    for _ in 1..ORDERS_MAX {
        let ask = RevokeManyRequest { expect: Some(expect), ..RevokeManyRequest::of(selector.clone()) };
        match client.revoke_many(&ask).await {
            Err(error) if error.status() == Some(409) => expect = count(client, selector).await?.matched,
            done => return Ok(done?),
        }
    }
    let ask = RevokeManyRequest { expect: Some(expect), ..RevokeManyRequest::of(selector.clone()) };
    client.revoke_many(&ask).await.context("their number keeps changing: stop what asks for them first, or repeat this")
}

fn describe(selector: &Selector) -> String {
    match selector {
        Selector::Identity(id) => format!("all of {}", safe(id)),
        Selector::Role(role) => format!("all of the role {}", safe(role)),
        Selector::Target(target) => format!("all in the target {}", safe(target)),
        Selector::All => "all there are".to_owned(),
    }
}

fn show_order(order: &RevokeManyResponse, output: Output) -> anyhow::Result<()> {
    let members = [("order", order.order.clone().unwrap_or_default()), ("matched", order.matched.to_string())];
    output.one(order, members)
}

/// The leases that are being ended.
async fn dying(client: &Client, selector: &Selector) -> Result<BTreeSet<String>, ClientError> {
    let mut ask = LeaseQuery { state: Some("revoking".to_owned()), ..LeaseQuery::default() };
    match selector.clone() {
        Selector::Identity(id) => ask.identity = Some(id),
        Selector::Role(role) => ask.role = Some(role),
        Selector::Target(target) => ask.target = Some(target),
        Selector::All => {}
    }
    Ok(client.all_leases(&ask).await?.into_iter().map(|lease| lease.id).collect())
}

/// Waits until none that an order has just made `revoking` is so any more, for as long as it takes. It looks after the
/// order only: nothing that fails before may keep the order from being given.
async fn all_dead(client: &Client, selector: &Selector) -> anyhow::Result<()> {
    let mut pause = PAUSE_MIN;
    let mut meant: Option<BTreeSet<String>> = None;
    loop {
        match dying(client, selector).await {
            Ok(now) => {
                // Those that others end meanwhile are not waited for.
                let left = meant.map_or_else(|| now.clone(), |before| &before & &now);
                if left.is_empty() {
                    return Ok(());
                }
                meant = Some(left);
            }
            Err(error) if error.is_transient() => eprintln!("leasehold: {error}; trying again"),
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(pause).await;
        pause = PAUSE_MAX.min(pause * 2);
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::super::Cli;

    fn is_good(line: &str) -> bool {
        Cli::try_parse_from(["leasehold", "lease", "revoke"].into_iter().chain(line.split_whitespace())).is_ok()
    }

    #[test]
    fn exactly_one_set_is_meant() {
        for good in ["06f0", "06f0 06f1 --wait", "--role r --yes", "--all --dry-run", "--identity spiffe://d/x"] {
            assert!(is_good(good), "{good}");
        }
        for wrong in ["", "06f0 --role r", "--role r --all", "06f0 --dry-run", "--all --dry-run --wait"] {
            assert!(!is_good(wrong), "{wrong}");
        }
    }
}
