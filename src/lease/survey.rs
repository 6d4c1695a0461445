//! Looking at a target: which accounts of ours exist there, beside the leases that should be there.
//!
//! The list is read before the store, so with law 1 an account without a live lease can only mean that the store forgot it.
//! What looks wrong is looked at a second time before anything is done about it: a lease may have come or gone in between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use leasehold_sdk::{EngineError, LeaseId, Listed, Listing, Mark, Receipt};
use tokio::sync::watch;

use super::Broker;
use super::restored::renewed_since;
use crate::domain::lease::State;
use crate::engine::TargetHandle;
use crate::store::{Live, StoreError};

/// Accounts and leases read at once.
const PAGE: usize = 1000;

/// Pages of one survey: a target that lists for ever is not believed (law 7).
const PAGES_MAX: usize = 10_000;

/// The longest that a mint takes from its id to its row: of two at once, the one with the older id may be recorded later. So
/// what is that little older than the newest lease of a store may be unknown to it, too.
const ON_THE_WAY: Duration = Duration::from_secs(60);

/// What is known of each target from its surveys.
pub(super) struct Surveys {
    /// The newest lease that the store knew when this broker started: none of those that it knew is being minted by it.
    pub newest_at_start: Option<LeaseId>,
    /// A little before the newest lease that the store knew when this broker started. A running store forgets nothing, so an account
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
    /// What was renewed since this copy of the store was written has been taken over: from then on it misses nothing.
    pub caught_up: bool,
}

impl Surveys {
    /// What is known at start: the newest lease in the store, and the holds kept in it.
    pub(super) fn new(newest: Option<LeaseId>, holds: BTreeMap<String, Option<LeaseId>>) -> Self {
        let at_start = newest.map(|id| LeaseId::first_of(id.made_at().minus(ON_THE_WAY)));
        let known = holds.into_iter().map(|(target, boundary)| (target, Known::new(true, boundary))).collect();
        Self { newest_at_start: newest, at_start, known: Mutex::new(known) }
    }

    pub(super) fn with<R>(&self, target: &str, f: impl FnOnce(&mut Known) -> R) -> R {
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        f(all.entry(target.to_owned()).or_insert_with(|| Known::new(false, self.at_start)))
    }
}

impl Surveys {
    /// The targets that this broker knows to be held.
    fn held(&self) -> BTreeSet<String> {
        let all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|(_, known)| known.held).map(|(target, _)| target.clone()).collect()
    }
}

impl Known {
    fn new(held: bool, boundary: Option<LeaseId>) -> Self {
        Self { done: watch::Sender::new(false), held, boundary, caught_up: false }
    }
}

/// What one look at a target found.
#[derive(Default)]
pub(super) struct Survey {
    pub strays: BTreeSet<LeaseId>,
    pub vanished: BTreeSet<LeaseId>,
    /// Leases that are being minted, or were when the store was last written, and whose accounts are there.
    pub unfinished: BTreeMap<LeaseId, Receipt>,
    /// Accounts of our cluster under another store's tag.
    pub foreign: u64,
}

/// Why a look failed.
pub(super) enum Blind {
    Target(EngineError),
    Store(StoreError),
}

impl Broker {
    /// Takes over what other brokers of the store have found, and what an operator has told them. A hold is in the store before
    /// its broker knows of it: one that was known here and is not there any more has been released.
    pub(super) async fn read_holds(&self) -> Result<(), StoreError> {
        let known = self.surveys.held();
        let holds = self.store.holds().await?;
        for target in known.iter().filter(|target| !holds.contains_key(*target)) {
            self.surveys.with(target, |known| known.held = false);
            self.changes.bell(target).notify_waiters();
        }
        for target in holds.keys().filter(|target| !known.contains(*target)) {
            tracing::error!(target_name = %target, "another broker found accounts that this store does not know: nothing is                 ended by itself in this target until an operator decides");
            self.surveys.with(target, |known| known.held = true);
        }
        Ok(())
    }

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
            unfinished: second.unfinished,
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
            let mut listed = BTreeMap::new();
            for found in accounts {
                let account = &found.account;
                if account.cluster() == &mark.cluster && account.tag() == &mark.tag {
                    listed.insert(account.lease(), found);
                } else {
                    survey.foreign += 1;
                }
            }
            // By a page that does not move on, what lives would look vanished; and it would never end.
            let moves_on =
                listed.keys().next().is_none_or(|first| compared < Some(*first)) && (next.is_none() || next > cursor);
            if !moves_on {
                return Err(Blind::Target(EngineError::refused("it does not list its accounts in their order")));
            }
            let last = listed.keys().next_back().copied().or(compared);
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
        mut listed: BTreeMap<LeaseId, Listed>,
        mut after: Option<LeaseId>,
        up_to: Option<LeaseId>,
        survey: &mut Survey,
    ) -> Result<(), StoreError> {
        loop {
            let lives = self.store.live_of_target(&target.name, after, PAGE).await?;
            for live in lives.iter().take_while(|live| up_to.is_none_or(|up_to| live.id <= up_to)) {
                match (listed.remove(&live.id), live.state) {
                    (None, State::Active) if self.would_be_listed(target, live.id).await? => {
                        survey.vanished.insert(live.id);
                    }
                    (Some(account), State::Active | State::Pending) => {
                        self.compare_one(target, live, account, survey).await?;
                    }
                    _ => {}
                }
            }
            after = lives.last().map(|live| live.id);
            if after.is_none() || up_to.is_some_and(|up_to| after >= Some(up_to)) {
                break;
            }
        }
        let strays_max = self.current().config.limits.strays_per_pass_max;
        for id in listed.into_keys() {
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

    /// Not all that a target makes is in its list: of a session of a cloud only its holder knows.
    async fn would_be_listed(&self, target: &TargetHandle, id: LeaseId) -> Result<bool, StoreError> {
        let row = self.store.get(id).await?;
        Ok(row.is_some_and(|row| target.engine().is_listed(&row.plan)))
    }

    /// What has both a row and an account. The row is read after the account, so that it can only be the newer of the two.
    async fn compare_one(
        &self,
        target: &TargetHandle,
        live: &Live,
        account: Listed,
        survey: &mut Survey,
    ) -> Result<(), StoreError> {
        let caught_up = self.surveys.with(&target.name, |known| known.caught_up);
        match renewed_since(live, &account) {
            Some(until) if !caught_up => self.catch_up(target, &account, until).await?,
            _ => {
                let being_minted = account.receipt.filter(|_| live.state == State::Pending);
                survey.unfinished.extend(being_minted.map(|receipt| (live.id, receipt)));
            }
        }
        Ok(())
    }

    fn mark(&self) -> Mark {
        Mark { cluster: self.current().config.broker.cluster.clone(), tag: self.store.tag().clone() }
    }
}
