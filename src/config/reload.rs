//! What a new configuration changes, and what of that is refused: leases are never orphaned (law 3), and what was fixed at
//! start needs a restart.

use std::collections::BTreeMap;

use leasehold_identity::ClientCert;
use serde::{Deserialize, Serialize};

use super::{Config, ConfigErrors, PointsAt, PublicListen};
use crate::limits;

/// What is remembered of a configuration's targets once it is in force: enough to tell, at a reload or at the next start,
/// that one was dropped or re-pointed. To be kept where it survives a restart. No secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered(BTreeMap<String, RememberedTarget>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct RememberedTarget {
    /// `None`: only the name is known, from its leases.
    points_at: Option<PointsAt>,
}

impl Remembered {
    /// What is to be remembered of `config`.
    pub fn of(config: &Config) -> Self {
        let mark = |t: &super::Target| RememberedTarget { points_at: Some(t.points_at.clone()) };
        Self(config.targets.iter().map(|(name, target)| (name.clone(), mark(target))).collect())
    }

    /// The same, and the names of targets that have leases: of those that are not remembered, no more can be known.
    pub fn and_names<'n>(mut self, names: impl IntoIterator<Item = &'n String>) -> Self {
        for name in names {
            self.0.entry(name.clone()).or_insert(RememberedTarget { points_at: None });
        }
        self
    }
}

/// What became of a target whose leases it matters to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetChange {
    /// It is no longer in the file.
    Dropped,
    /// Its name now means another place.
    Repointed {
        /// Where it was.
        from: PointsAt,
        /// Where it is now.
        to: PointsAt,
    },
}

/// What a new configuration changes for those who have leases.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// By target. One that is retired now may be re-pointed: the fingerprint keeps its leases from being ended in the wrong place.
    pub targets: BTreeMap<String, TargetChange>,
}

/// Compares what was with what is to be.
pub fn changes(before: &Remembered, next: &Config) -> Changes {
    let change = |(name, was): (&String, &RememberedTarget)| {
        let change = match (next.targets.get(name), &was.points_at) {
            // Its leases could never be ended again, retired or not.
            (None, _) => TargetChange::Dropped,
            (Some(now), Some(from)) if !now.retired && now.points_at != *from => {
                TargetChange::Repointed { from: from.clone(), to: now.points_at.clone() }
            }
            _ => return None,
        };
        Some((name.clone(), change))
    };
    Changes { targets: before.0.iter().filter_map(change).collect() }
}

impl Changes {
    /// Refuses `next` when one of these targets has leases that have not ended: `unended` is their number by target.
    ///
    /// # Errors
    /// One for each such target, with the number and what to do.
    pub fn refuse_orphans(&self, next: &Config, unended: &BTreeMap<String, u64>) -> Result<(), ConfigErrors> {
        let orphans = |(name, change): (&String, &TargetChange)| {
            let leases = match unended.get(name).copied().unwrap_or(0) {
                0 => return None,
                1 => "1 lease that has not ended".to_owned(),
                n => format!("{n} leases that have not ended"),
            };
            let table = super::document::join("targets", name);
            Some(match change {
                TargetChange::Dropped => next.error(&table, &dropped(name, &leases)),
                TargetChange::Repointed { from, to } => {
                    next.error(&format!("{table}.url"), &repointed(name, &leases, from, to))
                }
            })
        };
        ConfigErrors::check(self.targets.iter().filter_map(orphans).collect())
    }
}

fn dropped(name: &str, leases: &str) -> String {
    format!(
        "this target is no longer in the file and would leave behind {leases}. Put it back with retired = true until \
         they have ended; if it is gone for good: leasehold target forget {name}"
    )
}

fn repointed(name: &str, leases: &str, from: &PointsAt, to: &PointsAt) -> String {
    let place = |p: &PointsAt| format!("{} {}", p.plugin, p.place);
    format!(
        "pointing this target from {} to {} would leave behind {leases}. Give the new one a name of its own and keep this \
         one with retired = true until they have ended; if it is gone for good: leasehold target forget {name}",
        place(from),
        place(to)
    )
}

fn public(config: &Config) -> Option<&PublicListen> {
    config.listen.public.as_ref()
}

fn public_tls(config: &Config) -> Option<&ClientCert> {
    public(config)?.tls.as_ref()
}

/// Refuses `next` when it changes what a running broker cannot change.
///
/// # Errors
/// One for each such key.
pub fn needs_restart(running: &Config, next: &Config) -> Result<(), ConfigErrors> {
    let fixed = [
        ("broker.cluster", running.broker.cluster != next.broker.cluster),
        ("broker.data_dir", running.broker.data_dir != next.broker.data_dir),
        ("listen.api", running.listen.api != next.listen.api),
        ("listen.ops", running.listen.ops != next.listen.ops),
        ("listen.public", public(running).map(|p| p.address) != public(next).map(|p| p.address)),
        ("listen.public_tls", public_tls(running) != public_tls(next)),
        ("identity", running.identity != next.identity),
        ("store", running.store != next.store),
        ("break_glass", running.break_glass != next.break_glass),
        ("seal", running.seal != next.seal),
        ("audit", running.audit != next.audit),
    ];
    let limits = running.limits.values().into_iter().zip(next.limits.values());
    let limits = limits.filter(|(was, is)| was != is && limits::READ_AT_START.contains(&was.0));
    let changed = fixed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key.to_owned());
    let changed = changed.chain(limits.map(|((name, _), _)| format!("limits.{name}")));
    let why = "a change of this takes effect only at start: restart the broker, or put it back";
    ConfigErrors::check(changed.map(|key| next.error(&key, why)).collect())
}
