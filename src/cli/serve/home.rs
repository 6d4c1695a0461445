//! The broker's own directory: private, held by one process, with the name by which other brokers know this one.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, bail};
use leasehold_sdk::random;

use crate::api;

/// Bytes of an id, written as twice as many hexadecimal digits.
const ID_BYTES: usize = 4;

/// `data_dir`, held until it is dropped or the process is gone.
pub(super) struct Home {
    /// The broker's id: kept here, so that a broker that starts again is known as the same one.
    pub id: String,
    _lock: File,
}

impl Home {
    /// Makes the directory when there is none, takes its lock, and reads or makes the id.
    pub(super) fn open(dir: &Path) -> anyhow::Result<Self> {
        let make = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        make.with_context(|| format!("data_dir {} cannot be made", dir.display()))?;
        let file = dir.join("broker.lock");
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&file);
        let lock = lock.with_context(|| format!("{} cannot be opened", file.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "another broker uses data_dir {}: each broker needs one of its own (it holds {})",
                dir.display(),
                file.display()
            ),
            Err(TryLockError::Error(e)) => return Err(e).with_context(|| file.display().to_string()),
        }
        Ok(Self { id: id(dir)?, _lock: lock })
    }
}

fn id(dir: &Path) -> anyhow::Result<String> {
    let file = dir.join("broker.id");
    if !file.exists() {
        // Whole or not at all: the lock is held, so nobody else makes it.
        let fresh = dir.join(".broker.id.new");
        let text = data_encoding::HEXLOWER.encode(&random::bytes::<ID_BYTES>()) + "\n";
        let write = || {
            let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            out.write_all(text.as_bytes())?;
            out.sync_all()?;
            std::fs::rename(&fresh, &file)?;
            File::open(dir)?.sync_all()
        };
        write().with_context(|| format!("{} cannot be made", file.display()))?;
    }
    let mut text = String::new();
    let read = File::open(&file).and_then(|f| f.take(64).read_to_string(&mut text));
    read.with_context(|| format!("{} cannot be read", file.display()))?;
    let id = text.trim_end();
    if id.len() != 2 * ID_BYTES || !id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        bail!("{} does not hold a broker's id; take it away, and a new one is made", file.display());
    }
    Ok(id.to_owned())
}

/// Where the broker really listens, for whoever started it with port 0.
pub(super) fn write_addresses(data_dir: &Path, addresses: &api::Addresses) -> anyhow::Result<()> {
    let file = data_dir.join("addresses.json");
    let mut text = serde_json::json!({ "api": addresses.api.to_string(), "ops": addresses.ops.to_string() });
    if let Some(public) = addresses.public {
        text["public"] = public.to_string().into();
    }
    let text = text.to_string();
    let fresh = data_dir.join(".addresses.json.new");
    std::fs::write(&fresh, text)
        .and_then(|()| std::fs::rename(&fresh, &file))
        .with_context(|| format!("{} cannot be written", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_made_once_and_a_directory_has_one_broker() {
        let dir = tempfile::tempdir().unwrap();
        let first = Home::open(dir.path()).unwrap();
        let refused = Home::open(dir.path()).err().unwrap().to_string();
        assert!(refused.contains("another broker"), "{refused}");
        let id = first.id.clone();
        drop(first);
        assert_eq!(Home::open(dir.path()).unwrap().id, id);
        std::fs::write(dir.path().join("broker.id"), "../../x\n").unwrap();
        assert!(Home::open(dir.path()).is_err());
    }
}
