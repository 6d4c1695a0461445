//! Custody of the targets' admin logins: passwords that nobody has seen, sealed in the store before they are set.
//!
//! A rotation writes first and acts then: the sealed password, a copy beside the store, the entry for whoever recovers, and only
//! then the target. Wherever it is cut short, each password that the target may hold is known, and which one it is shows at the
//! next login. No generation is forgotten before eight newer ones have been in force: an answer may be late, a store may be an
//! older copy of itself.

mod copy;
mod rotate;
mod schedule;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use leasehold_sdk::{AdminSecret, AdminSecrets, ClusterName};

use super::Broker;
use crate::audit::Event;
use crate::engine::Engines;
use crate::seal::{KeyRing, Place, Recovery};
use crate::store::{SealedRow, SealedState, StoreError};

pub use rotate::Rotated;

/// What the secrets are called in the store.
const KIND: &str = "admin_password";

/// Generations before the current one that are kept.
const KEPT: u64 = 8;

/// The keys, and what is known of each target.
pub(super) struct Custody {
    ring: Option<Arc<KeyRing>>,
    recovery: Option<Recovery>,
    /// Where the copies are.
    dir: PathBuf,
    /// What each target's secrets were made from; they are opened again only when that changes.
    known: Mutex<BTreeMap<String, Vec<SealedRow>>>,
    /// Boot time until which a target that failed is not rotated by itself.
    waits: Mutex<BTreeMap<String, Duration>>,
}

impl Custody {
    pub(super) fn new(ring: Option<Arc<KeyRing>>, recovery: Option<Recovery>, data_dir: &Path) -> Self {
        Self { ring, recovery, dir: data_dir.join("custody"), known: Mutex::default(), waits: Mutex::default() }
    }

    /// Whether `rows` are news of this target; they are no news the next time.
    fn is_news(&self, target: &str, rows: &[SealedRow]) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.get(target).is_some_and(|seen| seen == rows) {
            return false;
        }
        known.insert(target.to_owned(), rows.to_vec());
        true
    }

    fn failed_at(&self, target: &str, until: Duration) {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner).insert(target.to_owned(), until);
    }

    fn waits_until(&self, target: &str) -> Option<Duration> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner).get(target).copied()
    }

    fn forget(&self, target: &str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(target);
    }
}

/// Where a generation of a target's secret belongs. The copy beside the store is the very same text.
fn place<'a>(cluster: &'a str, target: &'a str, generation: u64) -> Place<'a> {
    Place { cluster, table: "sealed", kind: KIND, name: target, generation }
}

impl Broker {
    /// Brings the engines what is known of their logins, and the store what has shown at logins. At the start, in every round,
    /// and round each rotation.
    pub(super) async fn keep_admin_secrets(&self) -> Result<(), StoreError> {
        self.keep_secrets_in(&self.current().engines).await
    }

    /// The same for engines that are to come into force.
    pub(super) async fn keep_secrets_in(&self, engines: &Engines) -> Result<(), StoreError> {
        if self.custody.ring.is_none() {
            return Ok(());
        }
        let mut by_target: BTreeMap<String, Vec<SealedRow>> = BTreeMap::new();
        for row in self.store.sealed().await?.into_iter().filter(|row| row.kind == KIND) {
            by_target.entry(row.name.clone()).or_default().push(row);
        }
        for target in engines.iter() {
            if let Some(secrets) = target.engine().admin_secrets() {
                let rows = by_target.remove(&target.name).unwrap_or_default();
                self.keep_secrets_of(&target.name, secrets, rows).await?;
            }
        }
        Ok(())
    }

    async fn keep_secrets_of(
        &self,
        target: &str,
        secrets: &AdminSecrets,
        mut rows: Vec<SealedRow>,
    ) -> Result<(), StoreError> {
        if let Some(proved) = secrets.proved().filter(|proved| is_no_longer_current(&rows, *proved)) {
            if self.store.promote_sealed(KIND, target, proved, KEPT).await? {
                tracing::warn!(target_name = %target, generation = proved, "the admin login has shown which password is in force");
            }
            secrets.prove(None);
            rows = self.rows_of(target).await?;
        }
        if !secrets.candidates().is_empty() && !self.custody.is_news(target, &rows) {
            return Ok(());
        }
        self.bring_back_lost(target, &mut rows).await?;
        self.custody.is_news(target, &rows);
        copy::keep(&self.custody.dir, target, &rows).map_err(|e| StoreError::Unavailable(e.to_string()))?;
        secrets.set(self.opened(target, rows));
        Ok(())
    }

    async fn rows_of(&self, target: &str) -> Result<Vec<SealedRow>, StoreError> {
        let rows = self.store.sealed().await?;
        Ok(rows.into_iter().filter(|row| row.kind == KIND && row.name == target).collect())
    }

    /// A store that is an older copy of itself does not know the newest generations; the copy beside it does. The target has
    /// one of them, so they are put back into the store.
    async fn bring_back_lost(&self, target: &str, rows: &mut Vec<SealedRow>) -> Result<(), StoreError> {
        let newest = rows.iter().map(|row| row.generation).max();
        let lost: Vec<SealedRow> = copy::read(&self.custody.dir, target)
            .into_iter()
            .filter(|row| Some(row.generation) > newest && row.kind == KIND && row.name == target)
            .collect();
        if lost.is_empty() {
            return Ok(());
        }
        let generations: Vec<u64> = lost.iter().map(|row| row.generation).collect();
        tracing::error!(target_name = %target, ?generations,
            "the store does not know passwords of the admin login that were set since: it is an older copy of itself. They are \
             brought back from the copy in data_dir");
        for row in &lost {
            self.store.put_sealed(row).await?;
            if row.state == SealedState::Current {
                self.store.promote_sealed(KIND, target, row.generation, KEPT).await?;
            }
        }
        *rows = self.rows_of(target).await?;
        let detail = serde_json::json!({ "target": target, "generations": generations });
        let event =
            Event::Operation { operation: "admin_passwords_brought_back".into(), decision_id: String::new(), detail };
        self.keep_for_audit(&event).await
    }

    fn opened(&self, target: &str, rows: Vec<SealedRow>) -> Vec<AdminSecret> {
        let Some(ring) = &self.custody.ring else { return Vec::new() };
        let (secrets, broken) = admin_secrets(ring, &self.current().config.broker.cluster, target, rows);
        for why in broken {
            tracing::error!(target_name = %target, "{why}");
        }
        secrets
    }
}

/// The passwords of a target's admin login, in the order in which they are to be tried: the current one, then the others from
/// the newest. And what does not open.
pub fn admin_secrets(
    ring: &KeyRing,
    cluster: &ClusterName,
    target: &str,
    mut rows: Vec<SealedRow>,
) -> (Vec<AdminSecret>, Vec<String>) {
    rows.sort_by_key(|row| (row.state != SealedState::Current, std::cmp::Reverse(row.generation)));
    let (mut secrets, mut broken) = (Vec::new(), Vec::new());
    for row in rows {
        match ring.open(&place(cluster.as_str(), target, row.generation), &row.sealed) {
            Ok(secret) => secrets.push(AdminSecret { generation: row.generation, secret: Arc::new(secret) }),
            Err(why) => broken.push(format!("password {} of the admin login: {why}", row.generation)),
        }
    }
    (secrets, broken)
}

fn is_no_longer_current(rows: &[SealedRow], proved: u64) -> bool {
    rows.iter().any(|row| row.generation == proved && row.state != SealedState::Current)
}
