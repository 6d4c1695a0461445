//! What can be asked for by name.

use std::collections::BTreeMap;

use leasehold_sdk::RoleSettings;
use regex::Regex;

use super::ttl::Lifetimes;

/// A role: a target, lifetimes, and what the credential may do there.
#[derive(Debug, Clone)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// The target it is in.
    pub target: String,
    /// The kind of credential, such as `database`.
    pub kind: &'static str,
    /// How long its credentials live.
    pub lifetimes: Lifetimes,
    /// What a caller may pass, and its form.
    pub params: BTreeMap<String, ParamPattern>,
    /// Whether its credentials have leases. Only tokens may have none.
    pub leased: bool,
    /// The engine's own settings.
    pub settings: RoleSettings,
}

/// The form that a param must have: a regular expression over the whole value.
#[derive(Debug, Clone)]
pub struct ParamPattern {
    source: String,
    whole: Regex,
}

/// Longest value of a param, in bytes.
pub const PARAM_BYTES_MAX: usize = 256;

/// Largest compiled pattern, in bytes: a configuration must not make matching slow.
const PATTERN_COMPILED_BYTES_MAX: usize = 64 * 1024;

impl ParamPattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// Why it is not a regular expression that we take.
    pub fn new(source: &str) -> Result<Self, String> {
        let whole = regex::RegexBuilder::new(&format!("\\A(?:{source})\\z"))
            .size_limit(PATTERN_COMPILED_BYTES_MAX)
            .build()
            .map_err(|e| format!("not a regular expression: {e}"))?;
        // Compiled on its own too: `a)(b` would close our group.
        Regex::new(source).map_err(|e| format!("not a regular expression: {e}"))?;
        Ok(Self { source: source.to_owned(), whole })
    }

    /// The pattern as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the whole of `value` has this form.
    pub fn matches(&self, value: &str) -> bool {
        value.len() <= PARAM_BYTES_MAX && self.whole.is_match(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_held_against_the_whole_value() {
        let p = ParamPattern::new("[0-9]{1,3}|x").unwrap();
        assert!(p.matches("12") && p.matches("x"));
        assert!(!p.matches("12a") && !p.matches("1\n") && !p.matches("1234") && !p.matches(""));
        assert!(ParamPattern::new("a)(b").is_err());
    }
}
