//! `leasehold lease revoke`.

use std::time::Duration;

use anyhow::anyhow;
use clap::ArgGroup;
use leasehold_client::Client;
use leasehold_client::wire::{Lease, LeaseList, Selector};

use super::super::connect::OperatorArgs;
use super::super::exit;
use super::super::output::{Output, safe};
use super::{many, row, show};

/// How long one look at a lease waits for its end.
const LOOK: Duration = Duration::from_secs(30);
/// Waits between two looks at a lease when the broker cannot be asked.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(3);

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
    /// How many they are, from a dry run: if it is another number by now, nothing is ended.
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["ids", "dry_run"])]
    expect: Option<u64>,
    /// End all sessions that the role of a cloud has given until now, others' too: the dry run lists whose.
    #[arg(long, conflicts_with_all = ["ids", "identity", "target", "all", "wait"])]
    cut: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Return when all of them are dead, and show how far it has come.
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
    #[command(flatten)]
    broker: OperatorArgs,
}

pub async fn run(args: RevokeArgs, output: Output) -> anyhow::Result<u8> {
    let Some(selector) = selector(&args) else {
        let RevokeArgs { ids, wait, broker, .. } = args;
        return broker.with_client(async |client| each(client, &ids, wait, output).await).await;
    };
    let RevokeArgs { dry_run, expect, yes, wait, cut, broker, .. } = args;
    let order = many::Order { selector, dry_run, expect, yes, wait, cut };
    broker.with_client(async |client| many::run(client, order, output).await).await
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::super::Cli;

    fn is_good(line: &str) -> bool {
        Cli::try_parse_from(["leasehold", "lease", "revoke"].into_iter().chain(line.split_whitespace())).is_ok()
    }

    #[test]
    fn exactly_one_set_is_meant() {
        for good in [
            "06f0",
            "06f0 06f1 --wait",
            "--role r --yes",
            "--all --dry-run",
            "--identity spiffe://d/x",
            "--all --expect 7",
            "--role r --cut",
        ] {
            assert!(is_good(good), "{good}");
        }
        for wrong in [
            "",
            "--all --cut",
            "06f0 --role r",
            "--role r --all",
            "06f0 --dry-run",
            "--all --dry-run --wait",
            "06f0 --expect 1",
        ] {
            assert!(!is_good(wrong), "{wrong}");
        }
    }
}
