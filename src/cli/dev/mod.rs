//! `leasehold dev`: a whole broker on throwaway parts, to try things on; with `--demo` it tells its story and ends.

mod broker;
mod parts;
mod story;

use anyhow::{Context, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};

use broker::DevBroker;
use parts::Parts;

/// `leasehold dev`.
#[derive(Debug, Clone, clap::Args)]
pub struct DevArgs {
    /// Run the whole story once, say how each step went, and exit: 0 when all is as told.
    #[arg(long)]
    pub demo: bool,
}

/// Runs the playground until Ctrl-C, or the demo to its end. Nothing is left behind, also when a signal ends it.
///
/// # Errors
/// What could not be made, or what was not as told.
pub async fn run(args: DevArgs) -> anyhow::Result<()> {
    let mut stop = Stop::hear()?;
    if !args.demo {
        return keep_running(&mut stop).await;
    }
    tokio::select! {
        told = story::tell() => told,
        () = stop.heard() => bail!("the demo was stopped before its end"),
    }
}

async fn keep_running(stop: &mut Stop) -> anyhow::Result<()> {
    println!("Starting a PostgreSQL, a development CA and a broker on SQLite, all throwaway ...");
    let (parts, mut broker) = tokio::select! {
        made = make() => made?,
        () = stop.heard() => return Ok(()),
    };
    print!("{}", invitation(&parts, &broker));
    tokio::select! {
        // Ctrl-C reaches the broker too: that it ends then is no news.
        biased;
        () = stop.heard() => {}
        ended = broker.ended() => bail!("the broker ended by itself: {ended}"),
    }
    println!("\nStopping; nothing is left behind.");
    broker.stop().await
}

async fn make() -> anyhow::Result<(Parts, DevBroker)> {
    let parts = Parts::make().await?;
    let broker = DevBroker::start(&parts).await?;
    Ok((parts, broker))
}

/// The signals that end a program: left alone they would end this one without its putting anything away.
struct Stop([Signal; 3]);

impl Stop {
    fn hear() -> anyhow::Result<Self> {
        let hear = |kind| signal(kind).context("signals cannot be heard");
        Ok(Self([hear(SignalKind::interrupt())?, hear(SignalKind::terminate())?, hear(SignalKind::hangup())?]))
    }

    async fn heard(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
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
