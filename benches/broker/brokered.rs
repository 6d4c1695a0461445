//! The same through the broker.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use leasehold_client::Client;
use leasehold_client::wire::{LeaseQuery, MintRequest, RevokeManyRequest, Selector};
use leasehold_testkit::Session;
use tokio::time::{Instant, sleep};

use crate::bed::{self, Bed, Serving};
use crate::load::Caller;

/// How often the server is asked whether accounts are left.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long the broker may take to end all that a measurement made.
const END_MAX: Duration = Duration::from_secs(60);

/// A workload with an identity and a kept connection of its own.
pub struct Workload {
    client: Client,
    role: String,
}

impl Workload {
    pub fn some(bed: &Bed, serving: &Serving, n: usize, iterations: u32) -> Result<Vec<Self>> {
        let one = |number| {
            let client = bed.client(&serving.broker, &format!("/callers/{number}"))?;
            Ok(Self { client, role: bed::role(iterations) })
        };
        (0..n).map(one).collect()
    }
}

impl Caller for Workload {
    async fn mint(&mut self) -> Result<()> {
        self.client.mint(&self.role, &MintRequest::default()).await?;
        Ok(())
    }
}

/// Makes all leases of a role due at once by one order, and waits until no account of the broker is left. Answers how many
/// there were and how long it took from the order to the last account's end.
pub async fn revoke(serving: &Serving, session: &mut Session, role: &str) -> Result<(u64, Duration)> {
    let mut ask = RevokeManyRequest::of(Selector::Role(role.to_owned()));
    ask.dry_run = Some(true);
    let matched = serving.operator.revoke_many(&ask).await?.matched;
    (ask.dry_run, ask.expect) = (None, Some(matched));
    let begun = Instant::now();
    let ordered = serving.operator.revoke_many(&ask).await?.matched;
    ensure!(ordered == matched, "{matched} leases matched, then {ordered}");
    loop {
        let left = bed::accounts(session).await?;
        let elapsed = begun.elapsed();
        if left == 0 {
            return Ok((matched, elapsed));
        }
        let told = || {
            format!("{left} of {matched} accounts are left after {END_MAX:?}; the broker says:{}", complaints(serving))
        };
        ensure!(elapsed < END_MAX, told());
        sleep(LOOK_EVERY).await;
    }
}

/// Ends all leases of a role and waits until the store says so too, so that the next measurement begins at rest.
pub async fn clear(serving: &Serving, session: &mut Session, role: &str) -> Result<()> {
    revoke(serving, session, role).await?;
    settled(serving, role).await
}

/// Waits until no lease of the role is being ended.
pub async fn settled(serving: &Serving, role: &str) -> Result<()> {
    let begun = Instant::now();
    let ask = LeaseQuery {
        role: Some(role.to_owned()),
        state: Some("revoking".to_owned()),
        limit: Some(1),
        ..LeaseQuery::default()
    };
    while let Some(lease) = serving.operator.leases(&ask).await?.leases.first() {
        let told = || format!("lease {} is not ended: {:?}", lease.id, lease.last_error);
        (begun.elapsed() < END_MAX).then_some(()).with_context(told)?;
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// The last warnings and errors in the broker's log.
fn complaints(serving: &Serving) -> String {
    let logs = serving.broker.logs();
    let lines: Vec<&str> = logs.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).collect();
    lines[lines.len().saturating_sub(5)..].iter().flat_map(|line| ["\n  ", line]).collect()
}
