//! Reads a table of settings key by key, so that every error names the key that is wrong.

use std::time::Duration;

use leasehold_sdk::{SettingError, Settings};
use serde::de::DeserializeOwned;

/// A table being read. Keys that nobody asked for are errors at the end.
pub(crate) struct Keys {
    left: Settings,
    known: Vec<&'static str>,
}

impl Keys {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { left: settings, known: Vec::new() }
    }

    /// The value of `key`, if it is there.
    pub(crate) fn optional<T: DeserializeOwned>(&mut self, key: &'static str) -> Result<Option<T>, SettingError> {
        self.known.push(key);
        self.left
            .remove(key)
            .map(|v| serde_json::from_value(v).map_err(|e| SettingError::new(key, e.to_string())))
            .transpose()
    }

    /// The value of `key`, or an error that tells what belongs there.
    pub(crate) fn required<T: DeserializeOwned>(&mut self, key: &'static str, what: &str) -> Result<T, SettingError> {
        self.optional(key)?.ok_or_else(|| SettingError::new(key, format!("is missing: {what}")))
    }

    /// A whole number within `range`.
    pub(crate) fn number(
        &mut self,
        key: &'static str,
        default: u32,
        range: std::ops::RangeInclusive<u32>,
    ) -> Result<u32, SettingError> {
        let n = self.optional(key)?.unwrap_or(default);
        if range.contains(&n) {
            return Ok(n);
        }
        Err(SettingError::new(key, format!("must be from {} to {}", range.start(), range.end())))
    }

    /// A duration such as `"90s"`, at least 100 ms and at most 10 minutes.
    pub(crate) fn duration(&mut self, key: &'static str, default: Duration) -> Result<Duration, SettingError> {
        let Some(text) = self.optional::<String>(key)? else { return Ok(default) };
        let d = humantime::parse_duration(&text)
            .map_err(|e| SettingError::new(key, format!("is no duration such as \"5s\": {e}")))?;
        if (Duration::from_millis(100)..=Duration::from_secs(600)).contains(&d) {
            return Ok(d);
        }
        Err(SettingError::new(key, "must be from 100ms to 10m"))
    }

    /// Refuses what is left.
    pub(crate) fn finish(self) -> Result<(), SettingError> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(key) => {
                let why = format!("is no setting of the postgres plugin; it knows {}", self.known.join(", "));
                Err(SettingError::new(key.clone(), why))
            }
        }
    }
}
