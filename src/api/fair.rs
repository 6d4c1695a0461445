//! What one identity, or one address, may hold at once, so that a single one cannot take the room of all others.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use leasehold_identity::SpiffeId;

/// Counts what each holds of one kind.
#[derive(Clone)]
pub(super) struct Fair<K: Eq + Hash + Clone = SpiffeId> {
    /// The limit's name in `[limits]`.
    pub limit: &'static str,
    max: u64,
    held: Arc<Mutex<HashMap<K, u64>>>,
}

/// One thing held; given back when dropped.
pub(super) struct Held<K: Eq + Hash + Clone = SpiffeId> {
    fair: Fair<K>,
    who: K,
}

impl<K: Eq + Hash + Clone> Fair<K> {
    pub(super) fn new(limit: &'static str, max: u64) -> Self {
        Self { limit, max, held: Arc::default() }
    }

    /// Takes one, unless as many are held as may be.
    pub(super) fn take(&self, who: &K) -> Option<Held<K>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(who.clone()).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(Held { fair: self.clone(), who: who.clone() })
    }
}

impl<K: Eq + Hash + Clone> Drop for Held<K> {
    fn drop(&mut self) {
        let mut held = self.fair.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.who) {
            *count -= 1;
            // Whoever holds nothing takes no memory.
            if *count == 0 {
                held.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_identity_has_its_own_share_and_gives_it_back() {
        let fair = Fair::new("x", 2);
        let id = |name: &str| SpiffeId::parse(&format!("spiffe://d/{name}")).unwrap();
        let first = fair.take(&id("a")).unwrap();
        let _second = fair.take(&id("a")).unwrap();
        assert!(fair.take(&id("a")).is_none());
        let _other = fair.take(&id("b")).unwrap();
        drop(first);
        assert!(fair.take(&id("a")).is_some());
        assert_eq!(fair.held.lock().unwrap().len(), 2);
    }
}
