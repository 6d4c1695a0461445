//! How long things live. All arithmetic of lifetimes is here.

use std::time::Duration;

use leasehold_sdk::Timestamp;

/// Shortest lifetime that may be asked for or configured.
pub const TTL_MIN: Duration = Duration::from_secs(1);

/// A role's lifetimes, already checked: `TTL_MIN <= ttl <= max_ttl` and `ttl >= 3 * overlap`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    ttl: Duration,
    max_ttl: Duration,
    overlap: Duration,
}

/// What is wrong with a role's lifetimes, by key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LifetimeError {
    /// `ttl` is below one second.
    #[error("ttl must be at least 1s")]
    TtlTooShort,
    /// `max_ttl` is below `ttl`.
    #[error("max_ttl must not be shorter than ttl ({})", written(*.0))]
    MaxBelowTtl(Duration),
    /// `ttl < 3 * overlap`.
    #[error(
        "overlap {} is too long: the old and the new credential must both work for overlap, so ttl ({}) must be at least three times as long",
        written(*.0),
        written(*.1)
    )]
    OverlapTooLong(Duration, Duration),
}

impl LifetimeError {
    /// The role's key that is wrong.
    pub fn key(&self) -> &'static str {
        match self {
            Self::TtlTooShort => "ttl",
            Self::MaxBelowTtl(_) => "max_ttl",
            Self::OverlapTooLong(..) => "overlap",
        }
    }
}

/// An asked TTL is outside what the role allows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be from 1s to {}; {} was asked for", written(*.max), written(*.asked))]
pub struct AskedTtlError {
    /// What was asked for.
    pub asked: Duration,
    /// The role's `max_ttl`.
    pub max: Duration,
}

/// The times of a new lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// When it is recorded.
    pub issued_at: Timestamp,
    /// When it ends unless renewed.
    pub expires_at: Timestamp,
    /// When it ends at the latest.
    pub max_expires_at: Timestamp,
    /// When its holder should ask for the next one.
    pub rotate_at: Timestamp,
}

impl Lifetimes {
    /// Checks a role's lifetimes and fills in what is left out: `max_ttl` is `ttl`; `overlap` is 5 minutes or a third of
    /// `ttl`, whichever is shorter.
    ///
    /// # Errors
    /// Which key is wrong and why.
    pub fn new(ttl: Duration, max_ttl: Option<Duration>, overlap: Option<Duration>) -> Result<Self, LifetimeError> {
        let max_ttl = max_ttl.unwrap_or(ttl);
        let overlap = overlap.unwrap_or_else(|| Duration::from_secs(300).min(ttl / 3));
        if ttl < TTL_MIN {
            return Err(LifetimeError::TtlTooShort);
        }
        if max_ttl < ttl {
            return Err(LifetimeError::MaxBelowTtl(ttl));
        }
        if ttl < overlap.saturating_mul(3) {
            return Err(LifetimeError::OverlapTooLong(overlap, ttl));
        }
        Ok(Self { ttl, max_ttl, overlap })
    }

    /// The life of a credential unless its caller asks for another.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// The longest life, renewals included.
    pub fn max_ttl(&self) -> Duration {
        self.max_ttl
    }

    /// For how long the old and the new credential both work at a rotation.
    pub fn overlap(&self) -> Duration {
        self.overlap
    }

    /// The TTL to use when `asked` was asked for.
    ///
    /// # Errors
    /// When it is outside `1s..=max_ttl`.
    pub fn choose(&self, asked: Option<Duration>) -> Result<Duration, AskedTtlError> {
        let ttl = asked.unwrap_or(self.ttl);
        if ttl < TTL_MIN || ttl > self.max_ttl {
            return Err(AskedTtlError { asked: ttl, max: self.max_ttl });
        }
        Ok(ttl)
    }

    /// The times of a lease issued at `now` with `ttl`; `jitter` in `0.0..1.0` spreads rotations over a quarter of the
    /// overlap, so that a fleet started together does not rotate together.
    pub fn times(&self, now: Timestamp, ttl: Duration, jitter: f64) -> Times {
        let expires_at = now.plus(ttl);
        let max_expires_at = now.plus(self.max_ttl.max(ttl));
        // max_ttl >= ttl >= 3 * overlap: the moment lies well after the issue.
        let early = self.overlap + self.overlap.mul_f64(jitter.clamp(0.0, 1.0) / 4.0);
        Times { issued_at: now, expires_at, max_expires_at, rotate_at: max_expires_at.minus(early) }
    }

    /// The new end of a lease that is renewed at `now`: `min(now + ttl, max_expires_at)`, never earlier than before.
    pub fn renewed(now: Timestamp, ttl: Duration, expires_at: Timestamp, max_expires_at: Timestamp) -> Timestamp {
        now.plus(ttl).min(max_expires_at).max(expires_at)
    }
}

impl Times {
    /// The same, but over by `latest`; and where the end cannot be moved, over at its first end. The time to rotate keeps its
    /// share of the life.
    pub fn bounded(self, latest: Option<Timestamp>, renewable: bool) -> Self {
        let movable = if renewable { self.max_expires_at } else { self.expires_at };
        let last = latest.map_or(movable, |latest| latest.min(movable));
        if last >= self.max_expires_at {
            return self;
        }
        let whole = self.max_expires_at.since(self.issued_at).as_secs_f64();
        let share = self.rotate_at.since(self.issued_at).as_secs_f64() / whole;
        let rotate_at = self.issued_at.plus(last.since(self.issued_at).mul_f64(share));
        Self { expires_at: self.expires_at.min(last), max_expires_at: last, rotate_at, ..self }
    }
}

/// A duration as a configuration writes it: `900h`, `1h30m`, `15m`, `90s`, `1s500ms`. Hours are the largest unit: days and
/// months of a fixed length would be read wrong. What is shown can be read back and is the same.
pub fn written(duration: Duration) -> String {
    const UNITS: [(u128, &str); 6] = [
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
        (1, "ns"),
    ];
    let mut left = duration.as_nanos();
    // People write 90s, not 1m30s.
    let seconds_only = duration < Duration::from_secs(120) && !duration.as_secs().is_multiple_of(60);
    let mut text = String::new();
    for (size, unit) in UNITS {
        if left < size || (unit == "m" && seconds_only) {
            continue;
        }
        text += &format!("{}{unit}", left / size);
        left %= size;
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS_MAX: u64 = 10 * 365 * 86_400_000;

    proptest! {
        #[test]
        fn times_are_in_order(now in 0i64..4_000_000_000_000, ttl in 1000..MS_MAX, extra in 0..MS_MAX, jitter in 0.0f64..1.0) {
            let (ttl, max) = (Duration::from_millis(ttl), Duration::from_millis(ttl + extra));
            let lives = Lifetimes::new(ttl, Some(max), None).unwrap();
            let t = lives.times(Timestamp::from_unix_ms(now), ttl, jitter);
            prop_assert!(t.issued_at < t.rotate_at && t.rotate_at <= t.max_expires_at);
            prop_assert!(t.expires_at <= t.max_expires_at);
            // Old and new both work for at least the overlap.
            let before_end = t.max_expires_at.since(t.rotate_at);
            prop_assert!(before_end >= lives.overlap() && before_end <= lives.overlap() * 5 / 4 + Duration::from_millis(1));
        }

        #[test]
        fn renewing_never_shortens_and_never_passes_the_end(now in 0i64..1 << 42, ttl in 0..MS_MAX, exp in 0i64..1 << 42, more in 0..MS_MAX) {
            let expires = Timestamp::from_unix_ms(exp);
            let max = expires.plus(Duration::from_millis(more));
            let new = Lifetimes::renewed(Timestamp::from_unix_ms(now), Duration::from_millis(ttl), expires, max);
            prop_assert!(expires <= new && new <= max);
        }

        #[test]
        fn what_is_written_can_be_read_back(seconds in 0..u64::MAX / 4_000_000_000, nanos in 0u32..1_000_000_000) {
            let duration = Duration::new(seconds, nanos);
            prop_assert_eq!(humantime::parse_duration(&written(duration)).unwrap(), duration);
        }

        #[test]
        fn lifetimes_hold_their_promise(ttl in 0..MS_MAX, max in proptest::option::of(0..MS_MAX), overlap in proptest::option::of(0..MS_MAX)) {
            let ms = Duration::from_millis;
            if let Ok(l) = Lifetimes::new(ms(ttl), max.map(ms), overlap.map(ms)) {
                prop_assert!(l.ttl() >= TTL_MIN && l.max_ttl() >= l.ttl() && l.ttl() >= 3 * l.overlap());
            }
        }
    }

    #[test]
    fn a_duration_is_written_as_in_a_configuration() {
        for text in
            ["0s", "1s", "90s", "1m", "2m", "2m5s", "15m", "1h", "1h30m", "24h", "900h", "900h1s", "1s500ms", "1ns"]
        {
            assert_eq!(written(humantime::parse_duration(text).unwrap()), text);
        }
        let asked =
            Lifetimes::new(Duration::from_secs(3600), None, None).unwrap().choose(Some(Duration::from_secs(3_240_000)));
        assert_eq!(asked.unwrap_err().to_string(), "must be from 1s to 1h; 900h was asked for");
    }

    #[test]
    fn an_asked_ttl_is_bounded() {
        let l = Lifetimes::new(Duration::from_secs(60), Some(Duration::from_secs(120)), None).unwrap();
        assert_eq!(l.choose(None).unwrap(), Duration::from_secs(60));
        assert!(l.choose(Some(Duration::from_secs(121))).is_err());
        assert!(l.choose(Some(Duration::from_millis(999))).is_err());
        assert!(l.choose(Some(Duration::from_secs(120))).is_ok());
    }
}
