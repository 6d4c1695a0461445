//! Chance that can be repeated.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Throws the same for the same seed (SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators").
pub struct Dice(Mutex<u64>);

impl Dice {
    /// By `LEASEHOLD_CRASH_SEED`, or by chance; says which.
    pub fn new(what: &str) -> Self {
        let seed = match std::env::var("LEASEHOLD_CRASH_SEED") {
            Ok(seed) => seed.parse().expect("LEASEHOLD_CRASH_SEED is a whole number"),
            Err(_) => u64::from_le_bytes(leasehold_sdk::random::bytes()),
        };
        println!("{what}: LEASEHOLD_CRASH_SEED={seed}");
        Self(Mutex::new(seed))
    }

    /// Dice of its own for one task, so that tasks do not take each other's throws.
    pub fn split(&self) -> Self {
        Self(Mutex::new(self.next()))
    }

    fn next(&self) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From nought to below `sides`.
    pub fn throw(&self, sides: usize) -> usize {
        usize::try_from(self.next() % sides.max(1) as u64).expect("below a usize")
    }

    /// One of these.
    pub fn one_of<'a, T>(&self, of: &'a [T]) -> &'a T {
        &of[self.throw(of.len())]
    }

    /// Between these two, in milliseconds.
    pub fn pause(&self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.next() % (to - from).max(1))
    }
}
