//! How often one identity may ask.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::Duration;

use arc_swap::ArcSwap;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::Failure;
use crate::limits::Limits;

/// What each identity has asked for lately, on this broker.
pub(super) struct Rates {
    mints: Rate<(String, String)>,
    refusals: Rate<String>,
    questions: Rate<String>,
    orders: Rate<String>,
}

impl Rates {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            mints: Rate::new("mints_per_minute_per_identity_and_role", limits.mints_per_minute_per_identity_and_role),
            refusals: Rate::new("refusals_per_minute_per_identity", limits.refusals_per_minute_per_identity),
            questions: Rate::new("questions_per_minute_per_identity", limits.questions_per_minute_per_identity),
            orders: Rate::new("orders_per_minute_per_identity", limits.orders_per_minute_per_identity),
        }
    }

    /// Takes other limits; what changes begins afresh.
    pub(super) fn set(&self, limits: &Limits) {
        self.mints.set(limits.mints_per_minute_per_identity_and_role);
        self.refusals.set(limits.refusals_per_minute_per_identity);
        self.questions.set(limits.questions_per_minute_per_identity);
        self.orders.set(limits.orders_per_minute_per_identity);
    }

    /// Counts one mint.
    ///
    /// # Errors
    /// [`Failure::Limit`] with the time after which the next one is taken.
    pub(super) fn mint(&self, identity: &str, role: &str) -> Result<(), Failure> {
        self.mints.count(
            &(identity.to_owned(), role.to_owned()),
            "ask less often, or keep the credentials you have for longer",
        )
    }

    /// Counts one refusal: each is a line of the audit log, and nobody may fill the disk with them.
    ///
    /// # Errors
    /// [`Failure::Limit`] when this one is not to be put on record.
    pub(super) fn refusal(&self, identity: &str) -> Result<(), Failure> {
        self.refusals.count(&identity.to_owned(), "you have no grant for what you keep asking for")
    }

    /// Counts one question about what would be allowed: an audit line too.
    ///
    /// # Errors
    /// [`Failure::Limit`] with the time after which the next one is taken.
    pub(super) fn question(&self, identity: &str) -> Result<(), Failure> {
        self.questions.count(&identity.to_owned(), "ask less often")
    }

    /// Counts one order to end many leases: each is kept for as long as an ended lease, and needs no grant for one's own.
    ///
    /// # Errors
    /// [`Failure::Limit`] with the time after which the next one is taken.
    pub(super) fn order(&self, identity: &str) -> Result<(), Failure> {
        self.orders.count(&identity.to_owned(), "an order that was given is carried out; there is no need to repeat it")
    }

    /// Drops what is known of identities that have been quiet, so that memory does not grow with every caller ever seen.
    pub(super) fn forget_quiet(&self) {
        self.mints.forget_quiet();
        self.refusals.forget_quiet();
        self.questions.forget_quiet();
        self.orders.forget_quiet();
    }
}

/// One limit per minute, for each key.
struct Rate<K: Hash + Eq + Clone> {
    limit: &'static str,
    current: ArcSwap<(u64, DefaultKeyedRateLimiter<K>)>,
}

impl<K: Hash + Eq + Clone> Rate<K> {
    fn new(limit: &'static str, per_minute: u64) -> Self {
        Self { limit, current: ArcSwap::from_pointee((per_minute, limiter(per_minute))) }
    }

    fn set(&self, per_minute: u64) {
        if self.current.load().0 != per_minute {
            self.current.store(std::sync::Arc::new((per_minute, limiter(per_minute))));
        }
    }

    fn count(&self, key: &K, advice: &str) -> Result<(), Failure> {
        let current = self.current.load();
        let (value, limiter) = &**current;
        limiter.check_key(key).map_err(|not_until| {
            let wait = not_until.wait_time_from(DefaultClock::default().now());
            Failure::Limit {
                limit: self.limit,
                value: *value,
                why: advice.to_owned(),
                retry_after: wait.max(Duration::from_secs(1)),
            }
        })
    }

    fn forget_quiet(&self) {
        self.current.load().1.retain_recent();
    }
}

fn limiter<K: Hash + Eq + Clone>(per_minute: u64) -> DefaultKeyedRateLimiter<K> {
    let quota = u32::try_from(per_minute).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MAX);
    RateLimiter::keyed(Quota::per_minute(quota))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_identity_has_its_own_count_and_another_limit_is_taken_at_once() {
        let mut limits = Limits { refusals_per_minute_per_identity: 2, ..Limits::default() };
        let rates = Rates::new(&limits);
        let refused = |who| rates.refusal(who).is_err();
        assert_eq!([refused("a"), refused("a"), refused("a"), refused("b")], [false, false, true, false]);
        rates.set(&limits);
        assert!(refused("a"), "the same limits change nothing");
        limits.refusals_per_minute_per_identity = 3;
        rates.set(&limits);
        assert!(!refused("a"));
    }
}
