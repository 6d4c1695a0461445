//! The engines of the targets in force, and what the broker puts around every call: bounded queues, lanes, deadlines,
//! and a circuit that opens while the target is not reached.
//!
//! One target's trouble stays its own (law 7): nothing here is shared between targets.

pub mod circuit;
mod mints;
mod target;
mod turns;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::Config;
use crate::telemetry::metrics::Metrics;

pub use target::{MintRefusal, TargetHandle};

/// The targets in force, by name.
#[derive(Clone, Default)]
pub struct Engines {
    targets: BTreeMap<String, Arc<TargetHandle>>,
}

impl Engines {
    /// The targets of `config`. A target whose settings are the same as in `old` keeps its handle, queue and connections.
    pub fn of(config: &Config, old: &Engines, metrics: &Arc<Metrics>) -> Self {
        let handle = |target: &crate::config::Target| match old.targets.get(&target.name) {
            Some(handle) if handle.is_for(target, &config.limits) => handle.clone(),
            _ => TargetHandle::start(target, &config.limits, metrics.clone()),
        };
        Self { targets: config.targets.values().map(|t| (t.name.clone(), handle(t))).collect() }
    }

    /// The target of that name.
    pub fn get(&self, target: &str) -> Option<&Arc<TargetHandle>> {
        self.targets.get(target)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<TargetHandle>> {
        self.targets.values()
    }
}
