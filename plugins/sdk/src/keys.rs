//! Reads a table of settings key by key, so that every error names the key that is wrong.

use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::{SettingError, Settings};

/// A table being read. Keys that nobody asked for are errors at the end.
pub struct Keys {
    plugin: &'static str,
    left: Settings,
    known: Vec<&'static str>,
}

impl Keys {
    /// A table of this plugin.
    pub fn new(plugin: &'static str, settings: Settings) -> Self {
        Self { plugin, left: settings, known: Vec::new() }
    }

    /// The value of `key`, if it is there.
    ///
    /// # Errors
    /// When it is of another kind.
    pub fn optional<T: DeserializeOwned>(&mut self, key: &'static str) -> Result<Option<T>, SettingError> {
        self.known.push(key);
        self.left
            .remove(key)
            .map(|v| serde_json::from_value(v).map_err(|e| SettingError::new(key, e.to_string())))
            .transpose()
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// When it is of another kind, or missing; then `what` tells what belongs there.
    pub fn required<T: DeserializeOwned>(&mut self, key: &'static str, what: &str) -> Result<T, SettingError> {
        self.optional(key)?.ok_or_else(|| SettingError::new(key, format!("is missing: {what}")))
    }

    /// A whole number within `range`.
    ///
    /// # Errors
    /// When it is none.
    pub fn number(
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
    ///
    /// # Errors
    /// When it is none.
    pub fn duration(&mut self, key: &'static str, default: Duration) -> Result<Duration, SettingError> {
        let Some(text) = self.optional::<String>(key)? else { return Ok(default) };
        let d = humantime::parse_duration(&text)
            .map_err(|e| SettingError::new(key, format!("is no duration such as \"5s\": {e}")))?;
        if (Duration::from_millis(100)..=Duration::from_secs(600)).contains(&d) {
            return Ok(d);
        }
        Err(SettingError::new(key, "must be from 100ms to 10m"))
    }

    /// Refuses what is left.
    ///
    /// # Errors
    /// The first key that nobody asked for.
    pub fn finish(self) -> Result<(), SettingError> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(key) => {
                let why = format!("is no setting of the {} plugin; it knows {}", self.plugin, self.known.join(", "));
                Err(SettingError::new(key.clone(), why))
            }
        }
    }
}
