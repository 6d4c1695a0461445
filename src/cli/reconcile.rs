//! `leasehold reconcile`.

use leasehold_client::wire::{ReconcileRequest, ReconcileResponse, StrayOrder, TargetReport};

use super::connect::OperatorArgs;
use super::exit;
use super::output::Output;

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
    let ask = ReconcileRequest { target: args.target, dry_run: args.dry_run.then_some(true), strays };
    let report = args.broker.with_client(async |client| Ok(client.reconcile(&ask).await?)).await?;
    output.list(&report, ["TARGET", "WHAT", "WHICH", "DONE", "WHY"], rows(&report))?;
    let failed = report.targets.iter().any(|target| target.error.is_some());
    Ok(if failed { exit::FAILED } else { exit::DONE })
}

fn rows(report: &ReconcileResponse) -> Vec<[String; 5]> {
    report.targets.iter().flat_map(target_rows).collect()
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
        let rows = rows(&ReconcileResponse { targets: vec![quiet, busy] });
        let what: Vec<_> = rows.iter().map(|row| (row[0].as_str(), row[1].as_str())).collect();
        assert_eq!(what, [("a", "nothing"), ("b", "stray"), ("b", "vanished"), ("b", "foreign"), ("b", "error")]);
    }
}
