//! The task that keeps one credential: one loop, in which the first fetch, a lost lease and a rotation go the same way.

use std::sync::Arc;
use std::time::Duration;

use super::life::Due;
use super::{Held, Shared};
use crate::limits::{AT_ONCE_MAX, RETRY_TIME_MAX, RETRY_TIME_MIN, SPLAY_TIME_MAX, WATCH_TIME};
use crate::wire::RenewRequest;
use crate::{ClientError, clock};

pub(super) async fn run(shared: Arc<Shared>) {
    let mut keeper = Keeper { shared, failures: 0, not_before: Duration::ZERO, fetched_by: None };
    loop {
        keeper.step().await;
    }
}

struct Keeper {
    shared: Arc<Shared>,
    failures: u32,
    /// No try before this boot time.
    not_before: Duration,
    /// The certificate by which the present one was fetched (SHA-256).
    fetched_by: Option<String>,
}

/// What a renewal that was not refused has done.
enum Renewed {
    /// The lease's end was moved.
    Moved,
    /// It was not.
    Stays,
}

impl Keeper {
    /// Waits for what is due next, and does it.
    async fn step(&mut self) {
        let held = self.shared.held.borrow().clone();
        let ended = self.shared.health.borrow().ended;
        let done = match held {
            Some(held) if !ended => {
                let now = clock::boot().max(self.not_before);
                let due = if self.shared.replaces { held.life.due(now) } else { held.life.due_alone(now) };
                tokio::select! {
                    () = self.comes(due, &held) => match due {
                        Due::Renew(_) => match self.renew(&held).await {
                            // It is not alive any more, whatever we have not heard.
                            Err(error) if matches!(error.status(), Some(404 | 409)) => {
                                return self.lost(&held, error.to_string());
                            }
                            Err(error) => {
                                self.shared.counts(|counts| counts.failed_renewals += 1);
                                Err(error)
                            }
                            Ok(Renewed::Moved) => Ok(()),
                            // The next would gain nothing either: another is due.
                            Ok(Renewed::Stays) => self.replace(Some(&held)).await,
                        },
                        Due::Rotate(_) => self.replace(Some(&held)).await,
                        Due::End(_) => return self.lost(&held, at_its_end(&held)),
                    },
                    () = self.unbound(&held) => self.replace(Some(&held)).await,
                    why = self.shared.ends(&held) => return self.lost(&held, why),
                }
            }
            Some(_) if !self.shared.replaces => std::future::pending().await,
            _ => {
                clock::until(self.not_before).await;
                self.replace(None).await
            }
        };
        self.note(done);
    }

    /// Comes back when this is to be done: at its time, or before if somebody cannot wait for that; never in the pause after a try
    /// that failed.
    async fn comes(&self, due: Due, held: &Held) {
        tokio::select! {
            () = clock::until(due.at()) => {}
            () = self.shared.hastened(held), if self.shared.replaces => {}
        }
        clock::until(self.not_before).await;
    }

    /// Comes back when another is to be fetched because our certificate is no longer the one that the token is bound to: those
    /// to whom both are shown compare them. What is bound to nothing, or is no token, is not touched by a new certificate.
    async fn unbound(&self, held: &Held) {
        let transport = self.shared.client.transport();
        let Some(identity) = transport.identity().filter(|_| self.shared.replaces) else {
            return std::future::pending().await;
        };
        // One that was fetched by a certificate and is bound to another would be so again.
        let is_news = || self.fetched_by.is_none() || self.fetched_by != identity.svid_sha256();
        // The sender lives as long as the identity.
        let _ = identity.subscribe().wait_for(|_| self.shared.is_outdated(held) && is_news()).await;
        let many = transport.keepers() > AT_ONCE_MAX;
        let splay = if many { SPLAY_TIME_MAX.mul_f64(own_share(held.name())) } else { Duration::ZERO };
        clock::until(self.not_before.max(clock::boot() + splay)).await;
        tracing::info!(role = %self.shared.wanted.role, lease = held.lease_id(), "our certificate has changed: a token that is bound to it is fetched");
    }

    async fn renew(&self, held: &Held) -> Result<Renewed, ClientError> {
        let Some(lease) = &held.lease else { return Ok(Renewed::Stays) };
        let asked_at = clock::boot();
        let ask = RenewRequest { ttl: self.shared.wanted.ttl.clone() };
        let lease = self.shared.client.renew(&lease.id, &ask).await?;
        let life = held.life.renewed(&lease, asked_at).ok_or_else(|| unreadable("its times"))?;
        if life.ends() <= held.life.ends() {
            let stays = ClientError::setting("lease", "its end was not moved");
            return if self.shared.replaces { Ok(Renewed::Stays) } else { Err(stays) };
        }
        self.shared.put(Held { lease: Some(lease), life, ..held.clone() });
        self.shared.counts(|counts| counts.renewals += 1);
        Ok(Renewed::Moved)
    }

    async fn replace(&mut self, old: Option<&Held>) -> Result<(), ClientError> {
        let done = self.fetch(old).await;
        if done.is_err() {
            self.shared.counts(|counts| counts.failed_fetches += 1);
        }
        done
    }

    /// Fetches another. `old`: the one whose place it takes, if that still lives.
    async fn fetch(&mut self, old: Option<&Held>) -> Result<(), ClientError> {
        let shared = &self.shared;
        let asked_by = shared.client.transport().identity().and_then(|identity| identity.svid_sha256());
        let asked_at = clock::boot();
        let old_lease = old.and_then(Held::lease_id);
        let issued = match shared.client.mint(&shared.wanted.role, &shared.wanted.ask(old_lease)).await {
            // It may have ended since.
            Err(error) if old_lease.is_some() && matches!(error.status(), Some(400 | 404 | 409)) => {
                shared.client.mint(&shared.wanted.role, &shared.wanted.ask(None)).await?
            }
            answer => answer?,
        };
        let lease = issued.lease.as_ref().map(|lease| lease.id.clone());
        let generation = shared.held.borrow().as_ref().map_or(0, |held| held.generation) + 1;
        let Some(held) = Held::issued(generation, issued.lease, issued.credential, asked_at) else {
            // Nobody will work with it.
            if let Some(lease) = lease {
                let _ = shared.client.revoke(&lease).await;
            }
            return Err(unreadable("its times"));
        };
        shared.note_retiring();
        shared.put(held);
        self.fetched_by = asked_by;
        self.shared.counts(|counts| counts.rotations += u64::from(generation > 1));
        Ok(())
    }

    /// The lease has ended: by an operator, by somebody in the target, or because it could not be kept alive any further.
    fn lost(&mut self, held: &Held, why: String) {
        let Shared { wanted, replaces, health, .. } = &*self.shared;
        tracing::warn!(lease = held.lease_id(), role = %wanted.role, %why, another = %replaces, "the lease has ended");
        health.send_modify(|health| {
            health.ended = true;
            health.last_error = Some(why);
        });
        self.not_before = clock::boot() + SPLAY_TIME_MAX.mul_f64(own_share(held.name()));
    }

    fn note(&mut self, done: Result<(), ClientError>) {
        let Err(error) = done else {
            (self.failures, self.not_before) = (0, Duration::ZERO);
            self.shared.health.send_replace(super::Health::default());
            return;
        };
        let now = clock::boot();
        let held = self.shared.held.borrow().clone();
        let pause = pause(self.failures, error.retry_after(), held.as_deref().map_or("", Held::name));
        // Whatever its length, a life that is left sees several tries.
        let left = held.as_deref().map_or(RETRY_TIME_MAX, |held| held.time_left() / 4);
        let pause = pause.min(left.max(RETRY_TIME_MIN));
        self.failures += 1;
        self.not_before = now + pause;
        let role = &self.shared.wanted.role;
        match held.as_deref() {
            None => tracing::warn!(%role, %error, again_in = ?pause, "no credential yet"),
            Some(held) if held.life.share_over(now) >= super::ALARM_FROM => {
                tracing::error!(%role, lease = held.lease_id(), left = ?held.time_left(), %error, again_in = ?pause,
                    "the credential is near its end, and can be neither renewed nor replaced");
            }
            Some(held) if self.shared.is_outdated(held) => {
                tracing::error!(%role, lease = held.lease_id(), %error, again_in = ?pause,
                    "the token is bound to a certificate that is no longer ours, and cannot be replaced");
            }
            Some(held) => {
                tracing::warn!(%role, lease = held.lease_id(), left = ?held.time_left(), %error, again_in = ?pause,
                    "the credential was neither renewed nor replaced; it goes on being used");
            }
        }
        let failures = self.failures;
        self.shared.health.send_modify(|health| {
            health.last_error = Some(error.to_string());
            health.failures = failures;
            health.refused = !error.is_transient();
        });
    }
}

impl Shared {
    /// Whether it is a token that is bound to another certificate than ours.
    pub(super) fn is_outdated(&self, held: &Held) -> bool {
        let bound_to = held.said.as_ref().and_then(|said| said.certificate.as_deref());
        let Some((bound_to, identity)) = bound_to.zip(self.client.transport().identity()) else { return false };
        identity.svid_sha256().is_some_and(|present| present != bound_to)
    }

    /// Comes back when somebody cannot wait until something is due for this one.
    async fn hastened(&self, held: &Held) {
        // The sender lives as long as we do.
        let _ = self.hastened.subscribe().wait_for(|wish| *wish == Some(held.mark())).await;
    }

    fn put(&self, held: Held) {
        let lease = held.lease.as_ref();
        tracing::info!(role = %self.wanted.role, lease = lease.map(|lease| &lease.id), generation = held.generation,
            expires_at = lease.map(|lease| &lease.expires_at), left = ?held.time_left(), "the credential is good until then");
        self.held.send_replace(Some(Arc::new(held)));
    }

    /// Comes back when the broker says that the lease lives no more, with what became of it. While the broker cannot be asked nothing
    /// is known, and nothing said. Without a lease there is nobody to ask.
    async fn ends(&self, held: &Held) -> String {
        let Some(id) = held.lease_id() else { return std::future::pending().await };
        let mut failures = 0;
        loop {
            match self.client.lease_while(id, "active", WATCH_TIME).await {
                Ok(lease) if lease.state == "active" => failures = 0,
                Ok(lease) => match lease.ended_by.as_deref() {
                    Some("expiry") => return at_its_end(held),
                    by => {
                        return format!("the lease {id} is {} ({})", lease.state, by.unwrap_or("nobody says by whom"));
                    }
                },
                Err(error) if error.status() == Some(404) => {
                    return format!("the lease {id} is unknown to the broker");
                }
                Err(error) => {
                    tokio::time::sleep(pause(failures, error.retry_after(), id)).await;
                    failures += 1;
                }
            }
        }
    }
}

/// Doubled each time, up to a cap, and spread: those who failed together must not come back together.
fn pause(failures: u32, asked: Option<Duration>, id: &str) -> Duration {
    let wait = RETRY_TIME_MIN.saturating_mul(2u32.saturating_pow(failures.min(16))).min(RETRY_TIME_MAX);
    wait.max(asked.unwrap_or_default()).min(RETRY_TIME_MAX).mul_f64(1.0 + own_share(id) / 2.0)
}

/// A number from 0 to 1 that is this lease's own: the end of its id is random.
pub(super) fn own_share(id: &str) -> f64 {
    let tail = id.bytes().rev().take(4).fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    f64::from(tail % 1000) / 1000.0
}

fn at_its_end(held: &Held) -> String {
    match held.lease_id() {
        Some(id) => format!("the lease {id} has come to its end"),
        None => "the token has come to its end".to_owned(),
    }
}

fn unreadable(what: &'static str) -> ClientError {
    ClientError::setting("lease", format!("{what} cannot be read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_cap_and_are_spread() {
        let seconds = Duration::from_secs;
        assert!(pause(0, None, "") >= seconds(1) && pause(0, None, "") < seconds(2));
        assert!(pause(3, None, "") >= seconds(8));
        assert!(pause(60, None, "xyz") <= seconds(45));
        assert_eq!(pause(0, Some(seconds(7)), ""), seconds(7));
        let ids = ["06h1uqtnhlud35qp5tk5teda08", "06h1uqtnhlud35qp5tk5tedb1g", "06h1uqtnhlud35qp5tk5te00q4"];
        let shares: std::collections::BTreeSet<u64> = ids.iter().map(|id| (own_share(id) * 1000.0) as u64).collect();
        assert_eq!(shares.len(), ids.len());
    }
}
