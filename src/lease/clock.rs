//! The broker's own clock (law 9): it starts from the store's, runs on boot time, and no step of the wall clock moves it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use leasehold_sdk::{Timestamp, clock};

use crate::limits::Limits;
use crate::store::{Facts, StoreError};

/// A gap between the store's high-water mark and its clock, at start, that may be a jump and not just a restart.
const JUMP_MIN: Duration = Duration::from_secs(60);

/// A gap this long is not believed for good at once: a wrong clock at one start must not become the mark that all later
/// ones are held to.
const JUMP_DOUBTED: Duration = Duration::from_secs(3600);

/// The clock that decides what is due.
pub struct BrokerClock {
    state: Mutex<State>,
}

struct State {
    /// What the time was at `anchor_boot`.
    anchor: Timestamp,
    anchor_boot: Duration,
    trouble: Option<String>,
    /// Boot time until which sweeps are held.
    held_until: Option<Duration>,
    /// Boot time until which the high-water mark is not raised.
    doubted_until: Option<Duration>,
}

impl BrokerClock {
    /// Starts from the store's clock, and never before the latest time that a broker has acted on.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn start(store: &dyn Facts) -> Result<(Self, Duration), StoreError> {
        let (raw, high_water) = (store.clock().await?, store.high_water().await?);
        let never_used = high_water.unix_ms() == 0;
        let jump = if never_used { Duration::ZERO } else { raw.since(high_water) };
        let state = State {
            anchor: raw.max(high_water),
            anchor_boot: clock::boot(),
            trouble: None,
            held_until: None,
            doubted_until: None,
        };
        Ok((Self { state: Mutex::new(state) }, jump))
    }

    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The time by which leases live.
    pub fn now(&self) -> Timestamp {
        self.with(|s| s.anchor.plus(clock::boot().saturating_sub(s.anchor_boot)))
    }

    /// Why the clock is not to be trusted, if it is not: then nothing is minted or reaped.
    pub fn trouble(&self) -> Option<String> {
        self.with(|s| s.trouble.clone())
    }

    /// Compares with the store's clock: follows a small step forward, ignores a small one back, distrusts a large one.
    /// Answers how far the store's clock is ahead, in milliseconds.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn compare(&self, store: &dyn Facts, limits: &Limits) -> Result<i64, StoreError> {
        let raw = store.clock().await?;
        let skew_ms = raw.unix_ms().saturating_sub(self.now().unix_ms());
        let off = skew_ms.unsigned_abs() > limits.clock_skew_milliseconds_max;
        self.with(|s| {
            if off {
                s.trouble = Some(format!(
                    "the store's clock is {} s {} of the time that brokers have run by: set the clock right and restart \
                     the broker; if it is right, and was wrong before, start the broker once with --accept-clock",
                    skew_ms.unsigned_abs() / 1000,
                    if skew_ms > 0 { "ahead" } else { "behind" },
                ));
                return;
            }
            s.trouble = None;
            if skew_ms > 0 {
                s.anchor = s.anchor.plus(Duration::from_millis(skew_ms.unsigned_abs()));
            }
        });
        Ok(skew_ms)
    }

    /// Whether the time may become the mark that later starts are held to.
    pub fn may_be_kept(&self) -> bool {
        self.with(|s| s.trouble.is_none() && s.doubted_until.is_none_or(|until| clock::boot() >= until))
    }

    /// Holds sweeps for a while if the jump since the last run would end an unusual share of what lives.
    pub fn judge_jump(&self, jump: Duration, due: u64, live: u64, limits: &Limits) -> bool {
        let unusual = jump >= JUMP_MIN
            && due >= limits.sweep_leases_min
            && due.saturating_mul(100) >= live.saturating_mul(limits.sweep_share_percent_max);
        let until = clock::boot() + Duration::from_secs(limits.sweep_hold_seconds);
        self.with(|s| {
            s.held_until = unusual.then_some(until);
            s.doubted_until = (jump >= JUMP_DOUBTED).then_some(until);
        });
        unusual
    }

    /// For how much longer sweeps are held.
    pub fn held_for(&self) -> Option<Duration> {
        self.with(|s| s.held_until.map(|until| until.saturating_sub(clock::boot())).filter(|left| !left.is_zero()))
    }
}
