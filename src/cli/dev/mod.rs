//! `leasehold dev`: a whole broker on throwaway parts, to try things on; with `--demo` it tells its story and ends.

mod broker;
mod parts;
mod story;

use anyhow::Context;

use broker::DevBroker;
use parts::Parts;

/// `leasehold dev`.
#[derive(Debug, Clone, clap::Args)]
pub struct DevArgs {
    /// Run the whole story once, say how each step went, and exit: 0 when all is as told.
    #[arg(long)]
    pub demo: bool,
}

/// Runs the playground until Ctrl-C, or the demo to its end. Nothing is left behind.
///
/// # Errors
/// What could not be made, or what was not as told.
pub async fn run(args: DevArgs) -> anyhow::Result<()> {
    if args.demo { story::tell().await } else { keep_running().await }
}

async fn keep_running() -> anyhow::Result<()> {
    println!("Starting a PostgreSQL, a development CA and a broker on SQLite, all throwaway ...");
    let parts = Parts::make().await?;
    let mut broker = DevBroker::start(&parts).await?;
    print!("{}", invitation(&parts, &broker));
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.context("Ctrl-C cannot be heard")?,
        ended = broker.ended() => anyhow::bail!("the broker ended by itself: {ended}"),
    }
    println!("\nStopping; nothing is left behind.");
    broker.stop().await
}

fn invitation(parts: &Parts, broker: &DevBroker) -> String {
    let mut text = format!(
        "\nReady. Its files are in {dir}, the broker's log is {log}.\n\nIn another shell, as the service {billing}:\n\n",
        dir = parts.dir().display(),
        log = broker.log().display(),
        billing = parts::BILLING,
    );
    for (name, value) in broker.environment(parts, "billing") {
        text += &format!("  export {name}={value}\n");
    }
    text += "\n  leasehold role list\n  leasehold get orders-read --format env\n  leasehold get orders-read --ttl 30s --format url\n  \
             leasehold run orders-read -- psql -c 'select * from sales.orders'\n  leasehold lease list\n  leasehold explain orders-read\n\nAs the operator (sees and ends everything):\n\n";
    text += &format!(
        "  export LEASEHOLD_CERT={0}/operator.pem LEASEHOLD_KEY={0}/operator-key.pem\n  leasehold lease list\n  \
         leasehold lease revoke --role orders-read --dry-run\n  leasehold reconcile --dry-run\n\nCtrl-C ends it all.\n",
        parts.dir().display()
    );
    text
}
