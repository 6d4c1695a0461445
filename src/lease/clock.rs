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

/// Whether so long a gap since the last run may be a jump, which is judged by how much would end at once.
pub(super) fn is_jump(gap: Duration) -> bool {
    gap >= JUMP_MIN
}

impl BrokerClock {
    /// Starts from the store's clock, and never before the latest time that a broker has acted on.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn start(store: &dyn Facts) -> Result<(Self, Duration), StoreError> {
        Ok(Self::starting(store.clock().await?, store.high_water().await?))
    }

    /// The same from these two, with how far the first is beyond the second.
    fn starting(raw: Timestamp, high_water: Timestamp) -> (Self, Duration) {
        let never_used = high_water.unix_ms() == 0;
        let jump = if never_used { Duration::ZERO } else { raw.since(high_water) };
        let state = State {
            anchor: raw.max(high_water),
            anchor_boot: clock::boot(),
            trouble: None,
            held_until: None,
            doubted_until: None,
        };
        (Self { state: Mutex::new(state) }, jump)
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
        Ok(self.follow(store.clock().await?, clock::wall(), limits))
    }

    /// `own` is the clock of this host: by it certificates are judged.
    fn follow(&self, raw: Timestamp, own: Timestamp, limits: &Limits) -> i64 {
        let skew_ms = raw.unix_ms().saturating_sub(self.now().unix_ms());
        let off = skew_ms.unsigned_abs() > limits.clock_skew_milliseconds_max;
        let own_skew_ms = own.unix_ms().saturating_sub(raw.unix_ms());
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
            s.trouble = (own_skew_ms.unsigned_abs() > limits.clock_skew_milliseconds_max).then(|| {
                format!(
                    "the clock of this host is {} s {} of the store's: set it right",
                    own_skew_ms.unsigned_abs() / 1000,
                    if own_skew_ms > 0 { "ahead" } else { "behind" },
                )
            });
            if skew_ms > 0 {
                s.anchor = s.anchor.plus(Duration::from_millis(skew_ms.unsigned_abs()));
            }
        });
        skew_ms
    }

    /// Whether the time may become the mark that later starts are held to.
    pub fn may_be_kept(&self) -> bool {
        self.with(|s| s.trouble.is_none() && s.doubted_until.is_none_or(|until| clock::boot() >= until))
    }

    /// Holds sweeps for a while if the jump since the last run would end an unusual share of what lives.
    pub fn judge_jump(&self, jump: Duration, due: u64, live: u64, limits: &Limits) -> bool {
        let unusual = is_jump(jump)
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

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_unix_ms(1_800_000_000_000);
    const SKEW_MAX: Duration = Duration::from_secs(10);

    fn running() -> BrokerClock {
        BrokerClock::starting(START, START).0
    }

    /// The store's clock as it would be had nobody touched it, moved by this many milliseconds.
    fn stepped(clock: &BrokerClock, by_ms: i64) -> Timestamp {
        Timestamp::from_unix_ms(clock.now().unix_ms() + by_ms)
    }

    fn limits() -> Limits {
        Limits { clock_skew_milliseconds_max: SKEW_MAX.as_millis() as u64, ..Limits::default() }
    }

    /// Boot time goes on while a test runs; no test runs for a second.
    fn about(t: Timestamp, expected: Timestamp) -> bool {
        t.since(expected) < Duration::from_secs(1) && expected.since(t) < Duration::from_secs(1)
    }

    #[test]
    fn a_small_step_forward_is_followed() {
        let clock = running();
        clock.follow(stepped(&clock, 5000), stepped(&clock, 5000), &limits());
        assert!(about(clock.now(), START.plus(Duration::from_secs(5))), "{}", clock.now());
        assert_eq!(clock.trouble(), None);
    }

    #[test]
    fn a_small_step_back_is_ignored() {
        let clock = running();
        let before = clock.now();
        clock.follow(stepped(&clock, -5000), stepped(&clock, -5000), &limits());
        assert!(clock.now() >= before, "time never goes back");
        assert_eq!(clock.trouble(), None);
    }

    #[test]
    fn a_large_step_is_trouble_until_it_is_undone_and_moves_nothing() {
        for by_ms in [60_000, -60_000, 30 * 86_400_000, -30 * 86_400_000] {
            let clock = running();
            clock.follow(stepped(&clock, by_ms), stepped(&clock, by_ms), &limits());
            let why = clock.trouble().expect("trouble");
            assert!(why.contains(if by_ms > 0 { "ahead" } else { "behind" }), "{why}");
            assert!(about(clock.now(), START), "nothing falls due by a step: {}", clock.now());
            assert!(!clock.may_be_kept(), "a clock in trouble makes no mark");
            clock.follow(stepped(&clock, 0), stepped(&clock, 0), &limits());
            assert_eq!((clock.trouble(), about(clock.now(), START)), (None, true));
        }
    }

    #[test]
    fn a_host_whose_own_clock_is_off_is_in_trouble_until_it_is_right() {
        for by_ms in [60_000, -60_000] {
            let clock = running();
            clock.follow(stepped(&clock, 0), stepped(&clock, by_ms), &limits());
            let why = clock.trouble().expect("trouble");
            assert!(why.contains("of this host") && why.contains(if by_ms > 0 { "ahead" } else { "behind" }), "{why}");
            assert!(about(clock.now(), START), "{}", clock.now());
            clock.follow(stepped(&clock, 0), stepped(&clock, 0), &limits());
            assert_eq!(clock.trouble(), None);
        }
    }

    #[test]
    fn a_start_is_never_before_the_mark() {
        let mark = START.plus(Duration::from_secs(3600));
        let (clock, jump) = BrokerClock::starting(START, mark);
        assert!(clock.now() >= mark && jump == Duration::ZERO);
        clock.follow(START, START, &limits());
        assert!(clock.trouble().is_some(), "an hour behind the mark is no time to work by");
    }

    #[test]
    fn a_jump_that_would_end_an_unusual_share_holds_the_sweep() {
        let limits = Limits { sweep_leases_min: 20, sweep_share_percent_max: 50, ..limits() };
        let long = Duration::from_secs(7200);
        let held = |jump, due, live| {
            let clock = running();
            assert_eq!(clock.judge_jump(jump, due, live, &limits), clock.held_for().is_some());
            clock.held_for().is_some()
        };
        assert!(held(long, 50, 100) && held(long, 100, 100) && held(JUMP_MIN, 20, 40));
        assert!(!held(long, 49, 100), "a usual share");
        assert!(!held(long, 19, 19), "too few to matter");
        assert!(!held(Duration::from_secs(59), 100, 100), "a restart and no jump");
        assert!(!held(long, 0, 0));
    }

    #[test]
    fn a_jump_of_hours_is_no_mark_at_once() {
        let clock = running();
        clock.judge_jump(JUMP_DOUBTED, 0, 0, &limits());
        assert!(!clock.may_be_kept());
        let clock = running();
        clock.judge_jump(JUMP_DOUBTED - Duration::from_millis(1), 0, 0, &limits());
        assert!(clock.may_be_kept());
    }
}
