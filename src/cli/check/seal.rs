//! What `check` says of `[seal]`; and the passwords that are sealed, so that targets can be looked at with them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use leasehold_sdk::Level;

use super::super::store;
use super::report::Found;
use crate::config::{Config, SealConfig};
use crate::lease::admin_secrets;
use crate::seal::{KeyRing, KeySource};

/// Looks at the keys and at what they must open, and gives the engines the passwords that are kept for them.
pub(super) async fn look(config: &Config) -> Vec<Found> {
    let found = |level, what: String| Found::new(level, "seal", what);
    let Some(seal) = &config.seal else { return Vec::new() };
    let mut all: Vec<Found> = key_files(seal).flat_map(|file| file_findings(file, &config.broker.data_dir)).collect();
    let ring = match KeyRing::read(&seal.key, &seal.old_keys) {
        Ok(ring) => ring,
        Err(e) => return vec![found(Level::Error, e.to_string())],
    };
    all.push(found(Level::Good, format!("what is kept is sealed by key {}", ring.current())));
    if seal.recovery.is_none() {
        let what = "nobody could recover a rotated password without store and seal key: set recovery_recipients";
        all.push(found(Level::Warning, what.to_owned()));
    }
    match store::sealed(config).await {
        Err(e) => all.push(found(Level::Warning, format!("what is sealed cannot be looked at: {e:#}"))),
        Ok(rows) => {
            let old = rows.iter().filter(|row| row.sealed.key_id != *ring.current()).count();
            if old > 0 {
                let what = format!("{old} secrets are sealed by old keys: run `leasehold seal rotate`");
                all.push(found(Level::Warning, what));
            }
            for target in config.targets.values() {
                let Some(slot) = target.engine.admin_secrets() else { continue };
                let of_target = rows.iter().filter(|row| row.name == target.name).cloned().collect();
                let (secrets, broken) = admin_secrets(&ring, &config.broker.cluster, &target.name, of_target);
                all.extend(broken.into_iter().map(|why| found(Level::Error, format!("target {}: {why}", target.name))));
                slot.set(secrets);
            }
        }
    }
    all
}

fn key_files(seal: &SealConfig) -> impl Iterator<Item = &Path> {
    std::iter::once(&seal.key).chain(&seal.old_keys).filter_map(|source| match source {
        KeySource::File(path) => Some(path.as_path()),
        _ => None,
    })
}

/// A backup of `data_dir` must not hold the key to itself.
fn file_findings(file: &Path, data_dir: &Path) -> Vec<Found> {
    let mut all = Vec::new();
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if real(file).starts_with(real(data_dir)) {
        let what = format!(
            "the key {} lies in data_dir: whoever gets a copy of that has the key to what is sealed in it; keep it elsewhere",
            file.display()
        );
        all.push(Found::new(Level::Error, "seal", what));
    }
    let open_to_others = std::fs::metadata(file).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0);
    if open_to_others {
        let what = format!("the key {} can be read by others than its owner: chmod 600", file.display());
        all.push(Found::new(Level::Error, "seal", what));
    }
    all
}
