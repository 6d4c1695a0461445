//! What one identity may hold at once, so that a single service cannot take the room of all others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use leasehold_identity::SpiffeId;

/// Counts what each identity holds of one kind.
#[derive(Clone)]
pub(super) struct Fair {
    /// The limit's name in `[limits]`.
    pub limit: &'static str,
    max: u64,
    held: Arc<Mutex<HashMap<SpiffeId, u64>>>,
}

/// One thing held; given back when dropped.
pub(super) struct Held {
    fair: Fair,
    identity: SpiffeId,
}

impl Fair {
    pub(super) fn new(limit: &'static str, max: u64) -> Self {
        Self { limit, max, held: Arc::default() }
    }

    /// Takes one, unless the identity holds as many as it may.
    pub(super) fn take(&self, identity: &SpiffeId) -> Option<Held> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(identity.clone()).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(Held { fair: self.clone(), identity: identity.clone() })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = self.fair.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.identity) {
            *count -= 1;
            // An identity that holds nothing takes no memory.
            if *count == 0 {
                held.remove(&self.identity);
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
