//! The one place of this crate where time is read: whoever embeds the client builds none of the broker's own crates.

use std::time::{Duration, SystemTime};

/// Time since the machine booted, suspend included (`CLOCK_BOOTTIME`): what lives and ends is measured by it.
pub(crate) fn boot() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(t.tv_sec).unwrap_or_default(), u32::try_from(t.tv_nsec).unwrap_or_default())
}

/// The wall clock: only for a lease of an earlier process, of which nothing else is known, and for what tokens say.
#[allow(clippy::disallowed_methods)] // this module is the one place that may
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

/// Sleeps until this boot time. Looked at again and again, because sleeping does not count the time that a machine was
/// suspended.
pub(crate) async fn until(due: Duration) {
    const NAP_MAX: Duration = Duration::from_secs(5);
    loop {
        let left = due.saturating_sub(boot());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(NAP_MAX)).await;
    }
}
