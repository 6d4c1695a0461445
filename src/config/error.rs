//! What is wrong in a file, told by file, line and key.

use std::fmt;
use std::path::PathBuf;

use leasehold_sdk::Reason;

/// One thing that is wrong. Reads `leasehold.toml:41: roles.orders-brief.overlap: why`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, as it was named when it was loaded.
    pub file: PathBuf,
    /// The line, counted from 1; `None` when the file could not be read at all.
    pub line: Option<usize>,
    /// The key, from the root; empty when the text as such is wrong.
    pub key: String,
    /// What is wrong and what would be right: one line without control characters, at most 500 bytes, never a secret.
    pub why: String,
}

impl ConfigError {
    pub(super) fn new(file: PathBuf, line: Option<usize>, key: &str, why: &str) -> Self {
        // Parsers speak in several lines, plugins in any characters.
        let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
        Self { file, line, key: Reason::new(key).to_string(), why: Reason::new(why).to_string() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.why)
    }
}

/// All that is wrong, in the order of the file, one error a line. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// `Ok` when nothing is wrong.
    pub(super) fn check(mut errors: Vec<ConfigError>) -> Result<(), Self> {
        if errors.is_empty() {
            return Ok(());
        }
        errors.sort_by_key(|e| e.line);
        errors.dedup();
        Err(Self(errors))
    }

    /// The errors, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
