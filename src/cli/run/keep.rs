//! The credentials of a running program: renewed while it runs, revoked when it ends. It cannot change to others, so what becomes
//! of them is told.

use std::sync::Arc;

use leasehold_client::{Client, ClientError, Credentials, Ending, Health, Held, Wanted};
use tokio::task::JoinSet;

use super::super::output::safe;

/// The credentials, and one task for each that tells what becomes of it.
pub struct Kept {
    client: Client,
    all: Vec<Arc<Credentials>>,
    tellers: JoinSet<()>,
}

impl Kept {
    pub fn new(client: Client) -> Self {
        Self { client, all: Vec::new(), tellers: JoinSet::new() }
    }

    /// Fetches one, and keeps it from then on.
    pub async fn fetch(&mut self, wanted: Wanted) -> anyhow::Result<Arc<Held>> {
        let kept = Arc::new(Credentials::keep_one(self.client.clone(), wanted));
        self.all.push(kept.clone());
        match kept.ready().await {
            Ok(held) => {
                self.tellers.spawn(tell_of(kept));
                Ok(held)
            }
            // It would go on being tried, for which no program waits.
            Err(ClientError::NotYet { why, .. }) => anyhow::bail!(why),
            Err(error) => Err(error.into()),
        }
    }

    /// Ends them all. What cannot be ended is told, and ends by itself.
    pub async fn end(&mut self) {
        self.tellers.shutdown().await;
        let mut endings = JoinSet::new();
        for kept in self.all.drain(..) {
            endings.spawn(async move { kept.end(Ending::Revoke).await });
        }
        while let Some(ended) = endings.join_next().await {
            for left in ended.unwrap_or_default() {
                let id = safe(&left.lease);
                tell(&format!("the lease {id} could not be revoked and is left to end by itself: {}", left.error));
            }
        }
    }
}

/// Says it when one is not renewed, and when it has ended; the program works with it meanwhile. A broker that is away for a
/// moment is not worth a word.
async fn tell_of(kept: Arc<Credentials>) {
    let (mut seen, mut told) = (Health::default(), false);
    while !seen.ended {
        seen = kept.health_changed(&seen).await;
        let Some(why) = &seen.last_error else {
            told = false;
            continue;
        };
        if seen.ended {
            tell(&format!("{}; start the program again for another", safe(why)));
        } else if (seen.refused || seen.alarm)
            && !told
            && let Some(lease) = kept.current().as_deref().and_then(|held| held.lease.as_ref())
        {
            told = true;
            tell(&format!(
                "the lease {} ends at {}: it is not renewed: {}",
                safe(&lease.id),
                lease.expires_at,
                safe(why)
            ));
        }
    }
}

fn tell(what: &str) {
    eprintln!("leasehold: {what}");
}
