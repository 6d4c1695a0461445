//! What each target was when it was last in force, kept beside the store: at the next start it tells whether one was
//! re-pointed while the broker was down, which would leave its leases behind (law 3).

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::ReloadRefused;
use crate::config::{Config, Remembered};

fn file(config: &Config) -> PathBuf {
    config.broker.data_dir.join("targets.json")
}

/// What is remembered, and the names of the targets that have leases: an older memory may not know them.
pub(super) fn recall(config: &Config, live: &BTreeSet<String>) -> Remembered {
    let kept: Option<Remembered> = std::fs::read(file(config)).ok().and_then(|text| serde_json::from_slice(&text).ok());
    kept.unwrap_or_default().and_names(live)
}

/// Keeps what the targets of `config` are, in one step.
pub(super) fn keep(config: &Config) -> Result<(), ReloadRefused> {
    let file = file(config);
    let fresh = file.with_extension("json.new");
    let text = serde_json::to_vec(&Remembered::of(config)).map_err(std::io::Error::other);
    text.and_then(|text| std::fs::write(&fresh, text))
        .and_then(|()| std::fs::rename(&fresh, &file))
        .map_err(|why| ReloadRefused::Memory { file, why })
}
