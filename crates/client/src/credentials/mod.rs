//! A credential that is always there: fetched, renewed while the broker lets it, and replaced in time by another, while the
//! one before still works.
//!
//! ```no_run
//! # async fn example() -> Result<(), leasehold_client::ClientError> {
//! use leasehold_client::{Client, ClientConfig, Credentials, Ending, Wanted};
//!
//! let client = Client::new(ClientConfig::from_env().await?)?;
//! let orders = Credentials::keep(client, Wanted::role("orders-read"));
//! let mut held = orders.ready().await?;
//! loop {
//!     // Give it to the pool: new connections log in by it from now on.
//!     println!("generation {}: a {}", held.generation, held.credential.kind());
//!     held = orders.changed(held.generation).await;
//! #   break;
//! }
//! orders.close(Ending::Revoke).await;
//! # Ok(())
//! # }
//! ```

mod keeper;
mod life;
mod retiring;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::wire::{Credential, Lease, MintRequest, Said};
use crate::{Client, ClientError, clock};
use life::Life;
use retiring::Retiring;

/// From this share of its life on, a credential that could be neither renewed nor replaced is cause for alarm.
const ALARM_FROM: f64 = 0.8;

/// What is to be kept.
///
/// A token that is bound to our certificate is fetched anew the moment that changes, so somebody must follow it:
///
/// ```no_run
/// # async fn example() -> Result<(), leasehold_client::ClientError> {
/// use leasehold_client::{Client, ClientConfig, Credentials, Wanted, wire::Credential};
/// # fn call(_: &leasehold_client::wire::TokenCredential) {}
///
/// let config = ClientConfig::from_env().await?;
/// config.identity.spawn_watch();
/// let wanted = Wanted { scope: Some("payments:read".into()), ..Wanted::role("payments-write") };
/// let payments = Credentials::keep(Client::new(config)?, wanted);
/// let held = payments.ready().await?;
/// if let Credential::Token(token) = &*held.credential {
///     call(token);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The role to ask for.
    pub role: String,
    /// For how long, such as `15m`; the role's `ttl` unless said.
    pub ttl: Option<String>,
    /// Values for the role's params.
    pub params: Option<BTreeMap<String, String>>,
    /// Which of the role's scopes, with spaces between; all of them unless said. Only for tokens.
    pub scope: Option<String>,
}

impl Wanted {
    /// This role, for as long as it says, without params, with all its scopes.
    pub fn role(role: impl Into<String>) -> Self {
        Self { role: role.into(), ..Self::default() }
    }

    fn ask(&self, replaces: Option<&str>) -> MintRequest {
        MintRequest {
            ttl: self.ttl.clone(),
            params: self.params.clone(),
            scope: self.scope.clone(),
            replaces: replaces.map(str::to_owned),
        }
    }
}

/// One credential with its lease: all of it belongs together and is replaced whole.
#[derive(Debug, Clone)]
pub struct Held {
    /// Counts the credentials that took each other's place. A renewal is no new generation: only the lease's end moves.
    pub generation: u64,
    /// The lease, as the broker last told it; `None`: a token of a role without leases, which nobody can end early.
    pub lease: Option<Lease>,
    /// What it is about.
    pub credential: Arc<Credential>,
    life: Life,
    /// What it says of itself, if it is a token.
    said: Option<Said>,
}

impl Held {
    /// A credential that an earlier process has fetched and kept.
    ///
    /// # Errors
    /// [`ClientError::Setting`] when its times cannot be read.
    pub fn resumed(generation: u64, lease: Option<Lease>, credential: Credential) -> Result<Self, ClientError> {
        let (now, wall) = (clock::boot(), clock::wall());
        let of_lease = |lease: &Lease| Life::resumed(lease, now, wall);
        Self::with_life(generation, lease, credential, of_lease, |said| Life::of_resumed_token(said, now, wall))
            .ok_or_else(|| ClientError::setting("lease", "its times cannot be read"))
    }

    /// One that was asked for at `asked_at` (boot time). `None`: its times cannot be read.
    fn issued(generation: u64, lease: Option<Lease>, credential: Credential, asked_at: Duration) -> Option<Self> {
        let of_lease = |lease: &Lease| Life::issued(lease, asked_at);
        Self::with_life(generation, lease, credential, of_lease, |said| Life::of_token(said, asked_at))
    }

    fn with_life(
        generation: u64,
        lease: Option<Lease>,
        credential: Credential,
        of_lease: impl FnOnce(&Lease) -> Option<Life>,
        of_token: impl FnOnce(&Said) -> Option<Life>,
    ) -> Option<Self> {
        let said = match &credential {
            Credential::Token(token) => token.said(),
            Credential::Database(_) | Credential::Aws(_) => None,
        };
        let life = match &lease {
            Some(lease) => of_lease(lease),
            None => of_token(said.as_ref()?),
        };
        Some(Self { generation, lease, credential: Arc::new(credential), life: life?, said })
    }

    /// The id of its lease, if it has one.
    pub fn lease_id(&self) -> Option<&str> {
        self.lease.as_ref().map(|lease| lease.id.as_str())
    }

    /// What it is known by: its lease, or the name that a token without one has.
    fn name(&self) -> &str {
        self.lease_id().or_else(|| self.said.as_ref()?.name.as_deref()).unwrap_or_default()
    }

    /// How long it still lives, by what the broker last told.
    pub fn time_left(&self) -> Duration {
        self.life.ends().saturating_sub(clock::boot())
    }

    /// How long the life is of which that is left: since it was fetched, or renewed.
    pub fn time_in_all(&self) -> Duration {
        self.life.whole()
    }

    /// What tells it from one that lives longer: a renewal is no new generation.
    fn mark(&self) -> Mark {
        (self.generation, self.life.ends())
    }
}

/// A generation, and the end that it had (boot time).
type Mark = (u64, Duration);

/// How keeping one goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Why it could not be fetched, renewed or replaced the last time; `None`: it could.
    pub last_error: Option<String>,
    /// How many tries in a row have failed.
    pub failures: u32,
    /// The last of them was refused: the next will be, too, unless somebody changes something.
    pub refused: bool,
    /// The lease has ended before its time (`revoked`, `expired`), and there is no other yet.
    pub ended: bool,
    /// Four fifths of its life are over, and it was neither renewed nor replaced; or it is a token that is bound to a certificate
    /// which is no longer ours, and could not be replaced.
    pub alarm: bool,
}

/// What was done for one since it is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// How often another took its place.
    pub rotations: u64,
    /// How often its end was moved.
    pub renewals: u64,
    /// Tries to fetch the first or another that failed.
    pub failed_fetches: u64,
    /// Tries to renew it that failed.
    pub failed_renewals: u64,
}

/// What becomes of the leases when they are no longer kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// They end by themselves, or another process goes on with them.
    Leave,
    /// They are revoked now.
    Revoke,
}

/// A lease that could not be revoked, and is left to end by itself.
#[derive(Debug)]
pub struct Unrevoked {
    /// Its id.
    pub lease: String,
    /// Why.
    pub error: ClientError,
}

/// Keeps one credential alive in a task of its own, until it is closed or dropped.
#[derive(Debug)]
pub struct Credentials {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// What the handle and its task share.
struct Shared {
    client: Client,
    wanted: Wanted,
    /// Whether another takes the place of one that nears its end.
    replaces: bool,
    held: watch::Sender<Option<Arc<Held>>>,
    health: watch::Sender<Health>,
    /// The one that somebody cannot work with until what is due for it is due.
    hastened: watch::Sender<Option<Mark>>,
    counts: Mutex<Counts>,
    retiring: Mutex<Vec<Retiring>>,
    /// We are one of those whom the client counts.
    _one: Arc<()>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Keeps what is wanted from now on. The first is fetched at once; see [`ready`](Self::ready). Needs a Tokio runtime.
    pub fn keep(client: Client, wanted: Wanted) -> Self {
        Self::begin(client, wanted, true, None)
    }

    /// The same for a holder that cannot change to another, such as a program that has it in its environment: one credential is
    /// fetched, and renewed for as long as that moves its end. Then [`Health::ended`] says so, and no other is fetched.
    pub fn keep_one(client: Client, wanted: Wanted) -> Self {
        Self::begin(client, wanted, false, None)
    }

    /// Goes on with a credential that an earlier process has fetched: it is not fetched again while it is good.
    pub fn resume(client: Client, wanted: Wanted, held: Held) -> Self {
        Self::begin(client, wanted, true, Some(held))
    }

    fn begin(client: Client, wanted: Wanted, replaces: bool, held: Option<Held>) -> Self {
        let shared = Arc::new(Shared {
            _one: client.transport().keeper(),
            client,
            wanted,
            replaces,
            held: watch::Sender::new(held.map(Arc::new)),
            health: watch::Sender::new(Health::default()),
            hastened: watch::Sender::new(None),
            counts: Mutex::default(),
            retiring: Mutex::default(),
        });
        let task = tokio::spawn(keeper::run(Arc::clone(&shared)));
        Self { shared, task }
    }

    /// The present one; `None` until the first was fetched.
    pub fn current(&self) -> Option<Arc<Held>> {
        self.shared.held.borrow().clone()
    }

    /// The present one, or the first as soon as it is there.
    ///
    /// # Errors
    /// [`ClientError::NotYet`] with what the broker said, when the first try fails; it goes on being tried.
    pub async fn ready(&self) -> Result<Arc<Held>, ClientError> {
        let (mut held, mut health) = (self.shared.held.subscribe(), self.shared.health.subscribe());
        loop {
            if let Some(held) = held.borrow_and_update().clone() {
                return Ok(held);
            }
            if let Some(why) = health.borrow_and_update().last_error.clone() {
                return Err(ClientError::NotYet { role: self.shared.wanted.role.clone(), why });
            }
            // Neither sender goes away before we do.
            tokio::select! {
                _ = held.changed() => {}
                _ = health.changed() => {}
            }
        }
    }

    /// The present one as soon as it is of a later generation than this; 0 waits for the first.
    pub async fn changed(&self, after: u64) -> Arc<Held> {
        let mut held = self.shared.held.subscribe();
        let later = |held: &Option<Arc<Held>>| held.as_ref().is_some_and(|held| held.generation > after);
        let found = held.wait_for(later).await.ok().and_then(|held| held.clone());
        match found {
            Some(held) => held,
            // The sender lives as long as `self`.
            None => std::future::pending().await,
        }
    }

    /// Does now what would be due for `held` later, for a holder who needs more of a life than it has left: it is renewed, or
    /// another takes its place. Comes back when that is done or has failed, after which the tries go on as they always do; whoever
    /// asks for the same meanwhile waits for the same. To be dropped at any time, which stops nothing.
    pub async fn hasten(&self, held: &Held) {
        let shared = &*self.shared;
        let (mut present, mut health) = (shared.held.subscribe(), shared.health.subscribe());
        let is_it = |now: &Option<Arc<Held>>| now.as_ref().is_some_and(|now| now.mark() == held.mark());
        let is_present = is_it(&present.borrow_and_update());
        if !shared.replaces || !is_present {
            return;
        }
        let is_failing = health.borrow_and_update().failures > 0;
        shared.hastened.send_replace(Some(held.mark()));
        // Else it waits for the pause after the last try, and who has to wait that long is better off with what is there.
        if !is_failing {
            tokio::select! {
                _ = present.wait_for(|now| !is_it(now)) => {}
                _ = health.wait_for(|health| health.failures > 0) => {}
            }
        }
    }

    /// Tells of every new generation and of every renewal.
    pub fn subscribe(&self) -> watch::Receiver<Option<Arc<Held>>> {
        self.shared.held.subscribe()
    }

    /// How it goes.
    pub fn health(&self) -> Health {
        let mut health = self.shared.health.borrow().clone();
        let late = |held: &Held| held.life.share_over(clock::boot()) >= ALARM_FROM;
        let useless = |held: &Held| health.failures > 0 && self.shared.is_outdated(held);
        health.alarm = self.current().is_some_and(|held| late(&held) || useless(&held));
        health
    }

    /// How it goes as soon as something else has become of it than `seen`. The alarm, which comes by time alone, is not waited for.
    pub async fn health_changed(&self, seen: &Health) -> Health {
        let differs = |now: &Health| Health { alarm: seen.alarm, ..now.clone() } != *seen;
        // The sender lives as long as `self`.
        let _ = self.shared.health.subscribe().wait_for(differs).await;
        self.health()
    }

    /// What was done so far.
    pub fn counts(&self) -> Counts {
        self.shared.counts(|counts| *counts)
    }

    /// Ends what the present one and all later took the place of: every holder has changed to generation `at_least`, and has
    /// finished what it had begun with an older one. Answers the leases that could not be ended now: asked again, it tries again,
    /// and else they end by themselves.
    pub async fn retire(&self, at_least: u64) -> Vec<Unrevoked> {
        self.shared.retire(at_least).await
    }

    /// Stops keeping it. Answers the leases that were to be revoked and could not be.
    pub async fn close(self, ending: Ending) -> Vec<Unrevoked> {
        self.end(ending).await
    }

    /// The same for one that is shared: it is renewed and replaced no more.
    pub async fn end(&self, ending: Ending) -> Vec<Unrevoked> {
        self.task.abort();
        match ending {
            Ending::Revoke => self.shared.end_all().await,
            Ending::Leave => Vec::new(),
        }
    }
}

impl Drop for Credentials {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn counts<R>(&self, f: impl FnOnce(&mut Counts) -> R) -> R {
        // Numbers: a panic elsewhere leaves nothing to distrust.
        f(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn retiring<R>(&self, f: impl FnOnce(&mut Vec<Retiring>) -> R) -> R {
        // A list of ids: a panic elsewhere leaves nothing to distrust.
        f(&mut self.retiring.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
