//! How often one identity may ask for credentials of one role.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::Failure;
use crate::limits::Limits;

/// Mints per identity and role, on this broker.
pub(super) struct Rates {
    mints: DefaultKeyedRateLimiter<(String, String)>,
    per_minute: u64,
}

impl Rates {
    pub(super) fn new(limits: &Limits) -> Self {
        let per_minute = limits.mints_per_minute_per_identity_and_role;
        let quota = u32::try_from(per_minute).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MAX);
        Self { mints: RateLimiter::keyed(Quota::per_minute(quota)), per_minute }
    }

    /// Counts one mint.
    ///
    /// # Errors
    /// [`Failure::Limit`] with the time after which the next one is taken.
    pub(super) fn mint(&self, identity: &str, role: &str) -> Result<(), Failure> {
        self.mints.check_key(&(identity.to_owned(), role.to_owned())).map_err(|not_until| {
            let wait = not_until.wait_time_from(DefaultClock::default().now());
            Failure::Limit {
                limit: "mints_per_minute_per_identity_and_role",
                value: self.per_minute,
                why: "ask less often, or keep the credentials you have for longer".to_owned(),
                retry_after: wait.max(Duration::from_secs(1)),
            }
        })
    }

    /// Drops what is known of identities that have been quiet, so that memory does not grow with every caller ever seen.
    pub(super) fn forget_quiet(&self) {
        self.mints.retain_recent();
    }
}
