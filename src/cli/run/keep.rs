//! The leases of a running program: renewed while it runs, revoked when it ends.

use std::time::Duration;

use leasehold_client::wire::{Lease, RenewRequest};
use leasehold_client::{Client, ClientError};
use leasehold_sdk::{Timestamp, clock};
use tokio::task::JoinSet;

use super::super::output::safe;

/// A wait is looked at again this often, because sleeping does not count the time that a machine was suspended.
const NAP_MAX: Duration = Duration::from_secs(5);
/// Shortest time between two tries to renew.
const RETRY_MIN: Duration = Duration::from_secs(1);

/// The leases, and one task for each that renews it.
pub struct Kept {
    client: Client,
    /// Renewed by what was asked for at first.
    ask: RenewRequest,
    leases: Vec<String>,
    renewals: JoinSet<()>,
}

impl Kept {
    pub fn new(client: Client, ttl: Option<String>) -> Self {
        Self { client, ask: RenewRequest { ttl }, leases: Vec::new(), renewals: JoinSet::new() }
    }

    /// Keeps a lease that was just issued.
    pub fn add(&mut self, lease: &Lease) {
        self.leases.push(lease.id.clone());
        let Some(life) = Life::begun(lease, clock::boot()) else {
            tell(&format!("the lease {} will not be renewed: its times cannot be read", safe(&lease.id)));
            return;
        };
        self.renewals.spawn(renew(self.client.clone(), lease.id.clone(), self.ask.clone(), life));
    }

    /// Ends them all. What cannot be ended is told, and ends by itself.
    pub async fn end(&mut self) {
        self.renewals.shutdown().await;
        let mut endings = JoinSet::new();
        for id in self.leases.drain(..) {
            let client = self.client.clone();
            endings.spawn(async move { client.revoke(&id).await.map_err(|error| (id, error)) });
        }
        while let Some(ended) = endings.join_next().await {
            if let Ok(Err((id, error))) = ended
                && error.status() != Some(404)
            {
                tell(&format!("the lease {} could not be revoked and is left to end by itself: {error}", safe(&id)));
            }
        }
    }
}

/// When a lease ends, by our boot-time clock. The broker's clock need not agree with ours: only differences between its own
/// times are used.
struct Life {
    ends: Duration,
    expires_at: Timestamp,
    max_expires_at: Timestamp,
    renewable: bool,
}

impl Life {
    fn begun(lease: &Lease, now: Duration) -> Option<Self> {
        let (issued, expires_at) = (lease.issued_at.parse::<Timestamp>().ok()?, lease.expires_at.parse().ok()?);
        let max_expires_at = lease.max_expires_at.parse().ok()?;
        Some(Self {
            ends: now + Timestamp::since(expires_at, issued),
            expires_at,
            max_expires_at,
            renewable: lease.renewable,
        })
    }

    /// When two thirds of what is left at `now` are over.
    fn next(&self, now: Duration) -> Duration {
        now + self.ends.saturating_sub(now) * 2 / 3
    }

    fn moved(&mut self, lease: &Lease) {
        if let Ok(expires_at) = lease.expires_at.parse::<Timestamp>() {
            self.ends += expires_at.since(self.expires_at);
            self.expires_at = expires_at;
            self.renewable = lease.renewable;
        }
    }

    fn can_move(&self) -> bool {
        self.renewable && self.expires_at < self.max_expires_at
    }
}

async fn renew(client: Client, id: String, ask: RenewRequest, mut life: Life) {
    let mut due = life.next(clock::boot());
    while life.can_move() {
        until(due).await;
        match client.renew(&id, &ask).await {
            Ok(lease) => {
                life.moved(&lease);
                due = life.next(clock::boot());
            }
            Err(error) if error.is_transient() && clock::boot() < life.ends => {
                due = clock::boot() + pause(&error, life.ends.saturating_sub(clock::boot()));
            }
            Err(error) => {
                return tell(&format!(
                    "the lease {} ends at {}: it is not renewed: {error}",
                    safe(&id),
                    life.expires_at
                ));
            }
        }
    }
    until(life.ends).await;
    tell(&format!(
        "the lease {} has ended, for it could not be renewed any further; start the program again for another",
        safe(&id)
    ));
}

/// How long to wait before trying again with this much life left.
fn pause(error: &ClientError, left: Duration) -> Duration {
    error.retry_after().unwrap_or_default().clamp(RETRY_MIN, RETRY_MIN.max(left / 4))
}

async fn until(due: Duration) {
    loop {
        let left = due.saturating_sub(clock::boot());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(NAP_MAX)).await;
    }
}

fn tell(what: &str) {
    eprintln!("leasehold: {what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_measured_by_the_brokers_times_alone() {
        let mut lease: Lease = serde_json::from_value(serde_json::json!({
            "id": "a", "role": "r", "target": "t", "identity": "spiffe://d/x", "state": "active", "ended_by": null,
            "issued_at": "2001-01-01T00:00:00.000Z", "expires_at": "2001-01-01T00:01:30.000Z",
            "max_expires_at": "2001-01-01T00:02:00.000Z", "rotate_at": "2001-01-01T00:01:50.000Z", "renewable": true,
            "revocable": "immediate", "worst_case_until": null, "account": "lh"
        }))
        .unwrap();
        let seconds = Duration::from_secs;
        let mut life = Life::begun(&lease, seconds(1000)).unwrap();
        assert_eq!((life.ends, life.next(seconds(1000))), (seconds(1090), seconds(1060)));
        lease.expires_at = lease.max_expires_at.clone();
        life.moved(&lease);
        assert_eq!(life.ends, seconds(1120));
        assert!(!life.can_move());
    }
}
