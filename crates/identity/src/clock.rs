//! The one place of this crate where time is read.

use std::time::{Duration, SystemTime};

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

/// Milliseconds since the Unix epoch, by the wall clock: certificate lifetimes are wall-clock times.
/// A clock set before 1970 reads as 0.
#[allow(clippy::disallowed_methods)] // this module is the one place that may
pub(crate) fn now_unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

/// The same clock, for rustls.
#[derive(Debug)]
pub(crate) struct WallClock;

impl TimeProvider for WallClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(now_unix_ms()))
    }
}

/// Milliseconds since the epoch as webpki wants them: whole seconds.
pub(crate) fn unix_time(unix_ms: i64) -> UnixTime {
    let ms = u64::try_from(unix_ms).unwrap_or(0);
    UnixTime::since_unix_epoch(Duration::from_secs(ms / 1000))
}
