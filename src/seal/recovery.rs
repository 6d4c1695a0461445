//! The recovery file: every rotated secret, for the few who hold an age key, outside of the store.
//!
//! It is appended to, and synced, before a target hears of the secret. Each entry is a line that says what it is and an
//! ordinary age file in its text form.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::str::FromStr;

use age::Encryptor;
use age::armor::{ArmoredWriter, Format};
use age::x25519::Recipient;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::SealError;

/// Where secrets are kept for the day when all else is lost, and for whom.
#[derive(Clone)]
pub struct Recovery {
    recipients: Vec<Recipient>,
    file: PathBuf,
}

impl PartialEq for Recovery {
    fn eq(&self, other: &Self) -> bool {
        let keys = |of: &Self| of.recipients.iter().map(ToString::to_string).collect::<Vec<_>>();
        self.file == other.file && keys(self) == keys(other)
    }
}

impl std::fmt::Debug for Recovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recovery").field("file", &self.file).field("recipients", &self.recipients.len()).finish()
    }
}

/// One secret for the file.
pub struct RecoveryEntry<'a> {
    /// The cluster.
    pub cluster: &'a str,
    /// The target whose admin login it is.
    pub target: &'a str,
    /// Which of those that came after each other.
    pub generation: u64,
    /// When it was made.
    pub at: String,
    /// The password.
    pub secret: &'a SecretString,
}

impl Recovery {
    /// For these public keys (`age1…`), into this file.
    ///
    /// # Errors
    /// The text that is no such key.
    pub fn new(recipients: &[&str], file: PathBuf) -> Result<Self, String> {
        let parse = |text: &&str| Recipient::from_str(text).map_err(|_| (*text).to_owned());
        Ok(Self { recipients: recipients.iter().map(parse).collect::<Result<_, _>>()?, file })
    }

    /// Appends an entry and syncs it.
    ///
    /// # Errors
    /// [`SealError::Recovery`].
    pub fn append(&self, entry: &RecoveryEntry<'_>) -> Result<(), SealError> {
        let failed = |why: String| SealError::Recovery { file: self.file.display().to_string(), why };
        let text = self.encrypt(entry).map_err(failed)?;
        let mut open = std::fs::OpenOptions::new();
        open.append(true).create(true).mode(0o600);
        open.open(&self.file)
            .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()))
            .map_err(|e| failed(e.to_string()))
    }

    fn encrypt(&self, entry: &RecoveryEntry<'_>) -> Result<Vec<u8>, String> {
        let RecoveryEntry { cluster, target, generation, at, secret } = entry;
        let plain = Zeroizing::new(format!(
            "cluster {cluster}\ntarget {target}\ngeneration {generation}\npassword {}\n",
            secret.expose_secret()
        ));
        let recipients = self.recipients.iter().map(|r| r as &dyn age::Recipient);
        let to = Encryptor::with_recipients(recipients).map_err(|e| e.to_string())?;
        let mut text = format!("# target {target} generation {generation} cluster {cluster} {at}\n").into_bytes();
        let armor = ArmoredWriter::wrap_output(&mut text, Format::AsciiArmor).map_err(|e| e.to_string())?;
        let mut writer = to.wrap_output(armor).map_err(|e| e.to_string())?;
        let written =
            writer.write_all(plain.as_bytes()).and_then(|()| writer.finish()).and_then(|armor| armor.finish());
        written.map_err(|e| e.to_string())?;
        text.push(b'\n');
        Ok(text)
    }
}
