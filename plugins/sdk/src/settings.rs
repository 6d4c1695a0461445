//! An engine's own part of the configuration, as the core hands it over.

use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The keys of a `[targets.x]` or `[roles.x]` table that the core does not own. Unknown ones are the engine's to refuse.
pub type Settings = serde_json::Map<String, serde_json::Value>;

/// A role's settings, checked by its engine and brought into one form. Kept in memory only; what a lease needs goes into its plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleSettings(pub serde_json::Value);

/// A setting is wrong. The core adds the file and the line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {why}")]
pub struct SettingError {
    /// The key, relative to the table, such as `member_of` or `password.file`. Empty: the table as a whole.
    pub key: String,
    /// What is wrong, and what would be right.
    pub why: String,
}

impl SettingError {
    /// `key` is wrong because of `why`.
    pub fn new(key: impl Into<String>, why: impl Into<String>) -> Self {
        Self { key: key.into(), why: why.into() }
    }
}

/// Longest secret that is read from a file, in bytes.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Where a secret of the configuration comes from. It is read again each time it is needed, so that it may be rotated.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SecretSource {
    /// A file; one trailing newline is cut.
    File(PathBuf),
    /// An environment variable.
    Env(String),
}

impl SecretSource {
    /// The same source with a relative file taken from `base`.
    pub fn relative_to(self, base: &Path) -> Self {
        match self {
            Self::File(p) => Self::File(base.join(p)),
            env => env,
        }
    }

    /// Reads the secret now.
    ///
    /// # Errors
    /// A text that names the file or variable and the reason, never its content.
    pub fn read(&self) -> Result<SecretString, String> {
        match self {
            Self::File(path) => read_file(path).map_err(|e| format!("cannot read {}: {e}", path.display())),
            Self::Env(name) => {
                let value = std::env::var(name).map_err(|_| format!("the environment variable {name} is not set"))?;
                Ok(SecretString::from(value))
            }
        }
    }
}

fn read_file(path: &Path) -> std::io::Result<SecretString> {
    use std::io::Read;
    let file = std::fs::File::open(path)?;
    let len = file.metadata()?.len();
    if len > SECRET_BYTES_MAX {
        return Err(std::io::Error::other(format!("it is larger than {SECRET_BYTES_MAX} bytes")));
    }
    // The final size at once: growth would leave copies of the secret behind.
    let mut text = Zeroizing::new(String::with_capacity(len as usize + 1));
    file.take(SECRET_BYTES_MAX).read_to_string(&mut text)?;
    let cut = text.strip_suffix('\n').map_or(text.as_str(), |t| t.strip_suffix('\r').unwrap_or(t));
    Ok(SecretString::from(cut))
}
