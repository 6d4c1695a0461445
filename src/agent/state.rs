//! What outlives the agent: its credentials, sealed, so that one that starts again goes on with what is still good and needs no
//! broker for it. Without a key there is none.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, bail};
use leasehold_client::wire::Supplied;
use leasehold_client::{Held, Wanted};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::config::StateConfig;
use super::forms;
use crate::seal::{KeyRing, Place, Sealed};

/// Largest state file: some hundred credentials.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The state file, held by one agent.
pub struct State {
    file: PathBuf,
    keys: KeyRing,
    /// Whose credentials they are: another identity's do not open.
    owner: String,
    kept: Mutex<BTreeMap<String, Entry>>,
    _lock: File,
}

/// One credential.
#[derive(Clone, Serialize, Deserialize)]
struct Entry {
    generation: u64,
    /// What was wanted: another wish is not met by it.
    wanted: String,
    sealed: Sealed,
}

impl State {
    /// Opens it, for the agent of this SPIFFE ID.
    ///
    /// # Errors
    /// When the key cannot be had, or the directory cannot be made or is another agent's. A file that cannot be read is left
    /// out, loudly: everything in it can be fetched again.
    pub fn open(config: &StateConfig, owner: &str) -> anyhow::Result<Self> {
        let StateConfig { dir, key } = config;
        let keys = KeyRing::read(key, &[]).context("state_key")?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .with_context(|| format!("state {}", dir.display()))?;
        let lock = dir.join("agent.lock");
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock);
        let lock = lock.with_context(|| format!("state {}", dir.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("state {} is another agent's: each needs a directory of its own", dir.display())
            }
            Err(TryLockError::Error(e)) => return Err(e).with_context(|| format!("state {}", dir.display())),
        }
        let file = dir.join("state.json");
        let kept = read(&file).unwrap_or_else(|error| {
            tracing::error!(file = %file.display(), error = format!("{error:#}"), "the state cannot be read; everything is fetched again");
            BTreeMap::new()
        });
        Ok(Self { file, keys, owner: owner.to_owned(), kept: Mutex::new(kept), _lock: lock })
    }

    /// The credential of this name, if it is what is wanted and still lives.
    pub fn take(&self, name: &str, wanted: &Wanted) -> Option<Held> {
        let entry = self.with(|kept| kept.get(name).cloned())?;
        if entry.wanted != written(wanted) {
            return None;
        }
        let opened = self.keys.open(&self.place(name, entry.generation), &entry.sealed);
        let held = opened.map_err(anyhow::Error::from).and_then(|secret| {
            let Supplied { generation, lease, credential } = forms::read_supplied(&secret)?;
            Ok(Held::resumed(generation, lease, credential)?)
        });
        match held {
            Ok(held) if !held.time_left().is_zero() => Some(held),
            Ok(_) => None,
            Err(error) => {
                tracing::error!(credential = %name, error = format!("{error:#}"), "what was kept of it cannot be used; it is fetched again");
                None
            }
        }
    }

    /// Keeps it. Blocks on the file system, briefly.
    ///
    /// # Errors
    /// When it cannot be written; what was kept before is still there.
    pub fn keep(&self, name: &str, wanted: &Wanted, held: &Held) -> anyhow::Result<()> {
        let opened = forms::open(&held.credential)?;
        let text = forms::supplied_json(held.generation, held.lease.as_ref(), &opened)?;
        let secret = SecretString::from((*text).clone());
        let sealed = self.keys.seal(&self.place(name, held.generation), &secret)?;
        let entry = Entry { generation: held.generation, wanted: written(wanted), sealed };
        self.change(|kept| {
            kept.insert(name.to_owned(), entry);
        })
    }

    /// Keeps it no longer.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn forget(&self, name: &str) -> anyhow::Result<()> {
        self.change(|kept| {
            kept.remove(name);
        })
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Entry>)) -> anyhow::Result<()> {
        self.with(|kept| {
            change(kept);
            write(&self.file, kept).with_context(|| format!("the state {} cannot be written", self.file.display()))
        })
    }

    fn with<R>(&self, f: impl FnOnce(&mut BTreeMap<String, Entry>) -> R) -> R {
        // Entries are replaced whole.
        f(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn place<'a>(&'a self, name: &'a str, generation: u64) -> Place<'a> {
        Place { cluster: &self.owner, table: "agent state", kind: "credential", name, generation }
    }
}

fn written(wanted: &Wanted) -> String {
    let Wanted { role, ttl, params, scope } = wanted;
    let mut wanted = serde_json::json!({ "role": role, "ttl": ttl, "params": params });
    // What was kept before there were scopes is still what is wanted.
    if let Some(scope) = scope {
        wanted["scope"] = scope.as_str().into();
    }
    wanted.to_string()
}

fn read(file: &Path) -> anyhow::Result<BTreeMap<String, Entry>> {
    let mut text = Vec::new();
    match File::open(file) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        opened => opened?.take(FILE_BYTES_MAX + 1).read_to_end(&mut text)?,
    };
    if text.len() as u64 > FILE_BYTES_MAX {
        bail!("it is larger than {FILE_BYTES_MAX} bytes");
    }
    Ok(serde_json::from_slice(&text)?)
}

fn write(file: &Path, kept: &BTreeMap<String, Entry>) -> anyhow::Result<()> {
    let dir = file.parent().context("is no file in a directory")?;
    let mut fresh = NamedTempFile::new_in(dir)?;
    fresh.write_all(&serde_json::to_vec(kept)?)?;
    fresh.as_file().sync_all()?;
    fresh.persist(file)?;
    fs::File::open(dir)?.sync_all()?;
    Ok(())
}
