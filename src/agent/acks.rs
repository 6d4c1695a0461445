//! Who has changed to which generation. Once every consumer works with the present one and has finished with those before, they
//! are ended early; without consumers they live to their end. Nobody waits for that: the broker may be away.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use leasehold_client::Credentials;
use leasehold_sdk::{Timestamp, clock};
use tokio::sync::watch;
use tokio::time::timeout;

use super::config::Consumers;

/// First pause after a lease could not be ended early; doubled each time.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// Longest such pause.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// The acknowledgements of one credential.
pub struct Acks {
    state: Mutex<State>,
    /// The generation that all have changed to.
    all: watch::Sender<u64>,
}

struct State {
    by: BTreeMap<String, Consumer>,
    delivered: u64,
    last_error: Option<String>,
    deliveries: Deliveries,
}

/// How the deliveries went so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Deliveries {
    /// When the last one was done.
    pub last: Option<Timestamp>,
    /// How many failed.
    pub failed: u64,
}

struct Consumer {
    /// The one user who may speak for it, where it is not everybody.
    uid: Option<u32>,
    /// The generation that it has acknowledged last.
    acknowledged: u64,
}

/// Who says that a consumer has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    /// A hook of ours, which the configuration lets speak for it.
    Hook,
    /// This user, by the kernel's word.
    User(u32),
    /// Somebody of whom no user is known.
    Unknown,
}

/// Why an acknowledgement is not heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unheard {
    /// There is none of this name.
    #[error("the configuration names no such consumer")]
    NoConsumer,
    /// Only one user may speak for it, and it is another.
    #[error("only the user whom the configuration names may speak for this consumer, on the socket")]
    NotItsUser,
}

impl Acks {
    /// Of these consumers, none of whom has said anything.
    pub fn new(consumers: &Consumers) -> Self {
        let by = consumers.iter().map(|(name, &uid)| (name.clone(), Consumer { uid, acknowledged: 0 })).collect();
        let state = Mutex::new(State { by, delivered: 0, last_error: None, deliveries: Deliveries::default() });
        Self { state, all: watch::Sender::new(0) }
    }

    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        // Counters: a panic elsewhere leaves nothing to distrust.
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes how the last delivery went.
    pub fn note_delivery(&self, done: &anyhow::Result<()>, generation: u64) {
        self.with(|state| match done {
            Ok(()) => {
                (state.delivered, state.last_error) = (generation, None);
                state.deliveries.last = (generation > 0).then(clock::wall).or(state.deliveries.last);
            }
            Err(error) => {
                state.last_error = Some(format!("{error:#}"));
                state.deliveries.failed += 1;
            }
        });
    }

    /// How the deliveries went.
    pub fn deliveries(&self) -> Deliveries {
        self.with(|state| state.deliveries)
    }

    /// The generation delivered last, and why a newer one is not.
    pub fn delivered(&self) -> (u64, Option<String>) {
        self.with(|state| (state.delivered, state.last_error.clone()))
    }

    /// What each consumer has acknowledged.
    pub fn by(&self) -> BTreeMap<String, u64> {
        self.with(|state| state.by.iter().map(|(name, one)| (name.clone(), one.acknowledged)).collect())
    }

    /// `who` works with `generation` from now on, and has finished with all before. A generation that is not there yet counts
    /// for the present one; an older word than the last changes nothing.
    ///
    /// # Errors
    /// When that is not for `speaker` to say.
    pub fn take(&self, who: &str, speaker: Speaker, generation: u64, credentials: &Credentials) -> Result<(), Unheard> {
        let present = credentials.current().map_or(0, |held| held.generation);
        let all = self.note(who, speaker, generation.min(present))?;
        self.all.send_if_modified(|seen| std::mem::replace(seen, all.max(*seen)) < all);
        Ok(())
    }

    /// Ends what everybody has changed from, whenever that is more, until it is dropped. What cannot be ended is tried again.
    pub async fn retire(self: Arc<Self>, credentials: Arc<Credentials>) {
        let mut all = self.all.subscribe();
        let mut pause = RETRY_MIN;
        loop {
            let at_least = *all.borrow_and_update();
            if credentials.retire(at_least).await.is_empty() {
                pause = RETRY_MIN;
                // The sender lives as long as `self`.
                let _ = all.changed().await;
            } else {
                let _ = timeout(pause, all.changed()).await;
                pause = (pause * 2).min(RETRY_MAX);
            }
        }
    }

    /// The same once, at the end.
    pub async fn retire_now(&self, credentials: &Credentials) {
        credentials.retire(*self.all.borrow()).await;
    }

    /// Notes it, and answers which generation all have changed to.
    fn note(&self, who: &str, speaker: Speaker, generation: u64) -> Result<u64, Unheard> {
        self.with(|state| {
            let one = state.by.get_mut(who).ok_or(Unheard::NoConsumer)?;
            if speaker != Speaker::Hook && one.uid.is_some_and(|uid| speaker != Speaker::User(uid)) {
                return Err(Unheard::NotItsUser);
            }
            one.acknowledged = one.acknowledged.max(generation);
            Ok(state.by.values().map(|one| one.acknowledged).min().unwrap_or_default())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_before_all_have_changed() {
        let acks = Acks::new(&Consumers::from([("a".into(), None), ("b".into(), None)]));
        let note = |who, generation| acks.note(who, Speaker::Unknown, generation);
        assert_eq!(note("a", 2), Ok(0));
        assert_eq!(note("b", 1), Ok(1));
        assert_eq!(note("a", 1), Ok(1), "nobody goes back");
        assert_eq!(note("b", 3), Ok(2));
        assert_eq!(note("c", 3), Err(Unheard::NoConsumer));
    }

    #[test]
    fn only_its_own_user_and_our_own_hook_speak_for_a_consumer_that_has_one() {
        let acks = Acks::new(&Consumers::from([("b".into(), Some(1000))]));
        for other in [Speaker::User(0), Speaker::User(1001), Speaker::Unknown] {
            assert_eq!(acks.note("b", other, 1), Err(Unheard::NotItsUser));
        }
        assert_eq!(acks.by()["b"], 0);
        assert_eq!(acks.note("b", Speaker::User(1000), 1), Ok(1));
        assert_eq!(acks.note("b", Speaker::Hook, 2), Ok(2));
    }
}
