//! `leasehold reconcile`.

use leasehold_client::wire::{ReconcileRequest, ReconcileResponse, StrayOrder, TargetReport};

use anyhow::Context;
use leasehold_client::Client;

use super::connect::OperatorArgs;
use super::output::{Output, safe};
use super::{exit, question};

/// What became of an account, in the API's words.
const TAKEN_OVER: &str = "taken_over";
const FAILED: &str = "failed";

/// `leasehold reconcile`. Returns when its pass is done.
#[derive(Debug, clap::Args)]
pub struct ReconcileArgs {
    /// Only this target.
    #[arg(long)]
    target: Option<String>,
    /// Only look.
    #[arg(long)]
    dry_run: bool,
    /// Strays newer than the store prove that it is an older copy: leave them alive and take up work again.
    #[arg(long, conflicts_with = "revoke")]
    adopt: bool,
    /// The same strays: end them and take up work again.
    #[arg(long)]
    revoke: bool,
    /// Look at what this other cluster left, whose store is lost for good.
    #[arg(long, conflicts_with_all = ["adopt", "revoke"])]
    cluster: Option<String>,
    /// Only what the store with this tag made; needed where the lost store was of the broker's own cluster.
    #[arg(long, requires = "cluster")]
    tag: Option<String>,
    /// End what the other cluster left, open sessions included.
    #[arg(long, requires = "cluster")]
    takeover: bool,
    /// How many accounts they are, from a dry run: if it is another number by now, nothing is ended.
    #[arg(long, value_name = "NUMBER", requires = "takeover")]
    expect: Option<u64>,
    /// Do not ask.
    #[arg(long, requires = "takeover")]
    yes: bool,
    #[command(flatten)]
    broker: OperatorArgs,
}

/// Has the broker do a pass and prints what it found. 1 when a target could not be looked at.
pub async fn run(args: ReconcileArgs, output: Output) -> anyhow::Result<u8> {
    let strays = match (args.adopt, args.revoke) {
        (true, _) => Some(StrayOrder::Adopt),
        (_, true) => Some(StrayOrder::Revoke),
        _ => None,
    };
    let ask = ReconcileRequest {
        target: args.target,
        dry_run: args.dry_run.then_some(true),
        strays,
        cluster: args.cluster,
        tag: args.tag,
        ..ReconcileRequest::default()
    };
    let Some(report) = args
        .broker
        .with_client(async |client| match args.takeover && !args.dry_run {
            true => take_over(client, ask, args.expect, args.yes).await,
            false => Ok(Some(client.reconcile(&ask).await?)),
        })
        .await?
    else {
        return Ok(exit::FAILED);
    };
    output.list(&report, ["TARGET", "WHAT", "WHICH", "DONE", "WHY"], rows(&report))?;
    let failed = report.targets.iter().any(|target| target.error.is_some())
        || report.targets.iter().flat_map(|target| &target.strays).any(|stray| stray.done == FAILED);
    Ok(if failed { exit::FAILED } else { exit::DONE })
}

/// Counts, asks, and ends them call by call. `None`: the answer was no.
async fn take_over(
    client: &Client,
    ask: ReconcileRequest,
    expect: Option<u64>,
    yes: bool,
) -> anyhow::Result<Option<ReconcileResponse>> {
    let looking = ReconcileRequest { dry_run: Some(true), ..ask.clone() };
    let mut all = client.reconcile(&looking).await?;
    let counted = all.matched.context("this broker cannot take over another cluster")?;
    if counted == 0 && expect.is_none() {
        return Ok(Some(all));
    }
    let cluster = ask.cluster.as_deref().map(safe).unwrap_or_default();
    if !question::confirmed(format!("End {counted} accounts of the cluster {cluster}?"), yes).await? {
        return Ok(None);
    }
    let mut left = expect.unwrap_or(counted);
    all.targets.clear();
    loop {
        let ending = ReconcileRequest { takeover: Some(true), expect: Some(left), ..ask.clone() };
        let done = client.reconcile(&ending).await?;
        let ended_some = done.targets.iter().flat_map(|t| &t.strays).any(|stray| stray.done == TAKEN_OVER);
        left = done.left.unwrap_or(0);
        all.left = Some(left);
        all.targets.extend(done.targets);
        // What could not be ended is told, and may be tried again by the same command.
        if left == 0 || !ended_some {
            return Ok(Some(all));
        }
    }
}

fn rows(report: &ReconcileResponse) -> Vec<[String; 5]> {
    let mut rows: Vec<_> = report.targets.iter().flat_map(target_rows).collect();
    if let (Some(matched), Some(left)) = (report.matched, report.left) {
        rows.push(["", "in all", &matched.to_string(), &format!("{left} left"), ""].map(str::to_owned));
    }
    rows
}

/// A row per thing found; one that says so where nothing was.
fn target_rows(report: &TargetReport) -> Vec<[String; 5]> {
    let row = |what: &str, which: &str, done: &str, why: &str| {
        [report.target.clone(), what.into(), which.into(), done.into(), why.into()]
    };
    let mut rows = Vec::new();
    for stray in &report.strays {
        rows.push(row("stray", &stray.account, &stray.done, stray.note.as_deref().unwrap_or_default()));
    }
    rows.extend(report.vanished.iter().map(|lease| row("vanished", lease, "", "its account was gone")));
    if report.foreign > 0 {
        let count = report.foreign.to_string();
        rows.push(row("foreign", &count, "left alone", "accounts of another store of this cluster"));
    }
    rows.extend(report.error.iter().map(|error| row("error", "", "", error)));
    if rows.is_empty() {
        rows.push(row("nothing", "", "", "leases and accounts agree"));
    }
    rows
}

#[cfg(test)]
mod tests {
    use leasehold_client::wire::Stray;

    use super::*;

    #[test]
    fn every_finding_has_a_row() {
        let quiet = TargetReport { target: "a".into(), strays: vec![], vanished: vec![], foreign: 0, error: None };
        let stray = Stray { account: "lh_x".into(), done: "held".into(), note: Some("newer".into()) };
        let busy = TargetReport {
            target: "b".into(),
            strays: vec![stray],
            vanished: vec!["06f0".into()],
            foreign: 2,
            error: Some("cut off".into()),
        };
        let rows = rows(&ReconcileResponse { targets: vec![quiet, busy], matched: None, left: None });
        let what: Vec<_> = rows.iter().map(|row| (row[0].as_str(), row[1].as_str())).collect();
        assert_eq!(what, [("a", "nothing"), ("b", "stray"), ("b", "vanished"), ("b", "foreign"), ("b", "error")]);
    }
}
