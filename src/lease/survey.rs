//! Looking at a target: which accounts of ours exist there, beside the leases that should be there.
//!
//! The list is read before the store, so with law 1 an account without a live lease can only mean that the store forgot it.
//! What looks wrong is looked at a second time before anything is done about it: a lease may have come or gone in between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use leasehold_sdk::{EngineError, LeaseId, Listing, Mark};
use tokio::sync::watch;

use super::Broker;
use crate::domain::lease::State;
use crate::engine::TargetHandle;
use crate::store::StoreError;

/// Accounts and leases read at once.
const PAGE: usize = 1000;

/// Pages of one survey: a target that lists for ever is not believed (law 7).
const PAGES_MAX: usize = 10_000;

/// What is known of each target from its surveys.
pub(super) struct Surveys {
    /// The newest lease that the store knew when this broker started. A running store forgets nothing, so an account
    /// without a row that is newer tells of a past that this copy of the store has not seen.
    at_start: Option<LeaseId>,
    known: Mutex<BTreeMap<String, Known>>,
}

pub(super) struct Known {
    /// A first look was taken, or could not be.
    pub done: watch::Sender<bool>,
    /// The store was found to be an older copy of itself: nothing is ended there until an operator says.
    pub held: bool,
    /// The newest lease that the store is trusted to know of.
    pub boundary: Option<LeaseId>,
}

impl Surveys {
    /// What is known at start: the newest lease in the store, and the holds kept in it.
    pub(super) fn new(at_start: Option<LeaseId>, holds: BTreeMap<String, Option<LeaseId>>) -> Self {
        let known = holds.into_iter().map(|(target, boundary)| (target, Known::new(true, boundary))).collect();
        Self { at_start, known: Mutex::new(known) }
    }

    pub(super) fn with<R>(&self, target: &str, f: impl FnOnce(&mut Known) -> R) -> R {
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        f(all.entry(target.to_owned()).or_insert_with(|| Known::new(false, self.at_start)))
    }
}

impl Known {
    fn new(held: bool, boundary: Option<LeaseId>) -> Self {
        Self { done: watch::Sender::new(false), held, boundary }
    }
}

/// What one look at a target found.
#[derive(Default)]
pub(super) struct Survey {
    pub strays: BTreeSet<LeaseId>,
    pub vanished: BTreeSet<LeaseId>,
    /// Accounts of our cluster under another store's tag.
    pub foreign: u64,
}

/// Why a look failed.
pub(super) enum Blind {
    Target(EngineError),
    Store(StoreError),
}

impl Broker {
    /// Whether nothing is ended in the target until an operator says what its newer accounts are.
    pub(super) fn is_held(&self, target: &str) -> bool {
        self.surveys.with(target, |known| known.held)
    }

    /// Becomes true once a first look at the target was taken, or could not be.
    pub(super) fn surveyed(&self, target: &str) -> watch::Receiver<bool> {
        self.surveys.with(target, |known| known.done.subscribe())
    }

    /// Only what two looks agree on counts.
    pub(super) async fn survey_twice(&self, target: &TargetHandle) -> Result<Survey, Blind> {
        let first = self.survey(target).await?;
        if first.strays.is_empty() && first.vanished.is_empty() {
            return Ok(first);
        }
        let second = self.survey(target).await?;
        Ok(Survey {
            strays: &first.strays & &second.strays,
            vanished: &first.vanished & &second.vanished,
            foreign: second.foreign,
        })
    }

    /// Page by page, each compared at once with the leases of the same range: what is held in memory is a page, however many
    /// accounts there are.
    async fn survey(&self, target: &TargetHandle) -> Result<Survey, Blind> {
        let mark = self.mark();
        let mut survey = Survey::default();
        let (mut cursor, mut compared) = (None::<String>, None);
        for _ in 0..PAGES_MAX {
            let (accounts, next) = match target.list(&mark, cursor.as_deref(), PAGE).await.map_err(Blind::Target)? {
                Listing::NotListable => return Ok(Survey::default()),
                Listing::Page { accounts, next } => (accounts, next),
            };
            let mut listed = BTreeSet::new();
            for account in accounts.into_iter().map(|a| a.account) {
                if account.cluster() == &mark.cluster && account.tag() == &mark.tag {
                    listed.insert(account.lease());
                } else {
                    survey.foreign += 1;
                }
            }
            // By a page that does not move on, what lives would look vanished; and it would never end.
            let moves_on =
                listed.first().is_none_or(|first| compared < Some(*first)) && (next.is_none() || next > cursor);
            if !moves_on {
                return Err(Blind::Target(EngineError::refused("it does not list its accounts in their order")));
            }
            let last = listed.last().copied().or(compared);
            let up_to = if next.is_some() { last } else { None };
            if next.is_none() || up_to > compared {
                self.compare(target, listed, compared, up_to, &mut survey).await.map_err(Blind::Store)?;
            }
            if next.is_none() {
                return Ok(survey);
            }
            (cursor, compared) = (next, last);
        }
        Err(Blind::Target(EngineError::refused("it lists more accounts than it can have")))
    }

    /// Compares what is listed with the leases after `after` and up to `up_to`; `None`: to the end.
    async fn compare(
        &self,
        target: &TargetHandle,
        mut listed: BTreeSet<LeaseId>,
        mut after: Option<LeaseId>,
        up_to: Option<LeaseId>,
        survey: &mut Survey,
    ) -> Result<(), StoreError> {
        loop {
            let lives = self.store.live_of_target(&target.name, after, PAGE).await?;
            let in_range = lives.iter().take_while(|(id, _)| up_to.is_none_or(|up_to| *id <= up_to));
            for (id, state) in in_range {
                if !listed.remove(id) && *state == State::Active {
                    survey.vanished.insert(*id);
                }
            }
            after = lives.last().map(|(id, _)| *id);
            if after.is_none() || up_to.is_some_and(|up_to| after >= Some(up_to)) {
                break;
            }
        }
        let strays_max = self.current().config.limits.strays_per_pass_max;
        for id in listed {
            // A target may list a million accounts of ours that nobody made: they are taken up bit by bit.
            if survey.strays.len() as u64 >= strays_max {
                return Ok(());
            }
            // Two targets may be databases of one server, whose accounts both list: one that lives in the other is no stray.
            let lives = self.store.get(id).await?.is_some_and(|row| row.lease.state.is_live());
            if !lives {
                survey.strays.insert(id);
            }
        }
        Ok(())
    }

    fn mark(&self) -> Mark {
        Mark { cluster: self.current().config.broker.cluster.clone(), tag: self.store.tag().clone() }
    }
}
