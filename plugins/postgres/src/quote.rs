//! Quoting: the one pair of functions through which any name or value gets into SQL.
//!
//! `CREATE ROLE` and its kin take no bind parameters, so text has to be quoted. Both functions give text that is safe
//! whatever `standard_conforming_strings` says, and refuse what PostgreSQL cannot hold instead of changing it: the server
//! would cut a long name short, and then it would be somebody else's.

use std::fmt;

use leasehold_sdk::EngineError;

/// Longest name that PostgreSQL keeps, in bytes (`NAMEDATALEN` - 1).
pub const NAME_BYTES_MAX: usize = 63;

/// Why a text cannot be put into SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadText {
    /// It holds the character NUL, which no PostgreSQL text can.
    #[error("it holds a NUL character")]
    Nul,
    /// A name without a character.
    #[error("it is empty")]
    Empty,
    /// A name over [`NAME_BYTES_MAX`].
    #[error("it is longer than 63 bytes, which is the most that PostgreSQL keeps of a name")]
    Long,
}

impl From<BadText> for EngineError {
    fn from(e: BadText) -> Self {
        Self::refused(format!("a name or value cannot be put into SQL: {e}"))
    }
}

/// A name, quoted; what it shows as is ready for SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ident(String);

/// A text value, quoted; what it shows as is ready for SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Literal(String);

/// Quotes a name.
///
/// # Errors
/// When it is empty, longer than 63 bytes, or holds NUL.
pub fn quote_ident(name: &str) -> Result<Ident, BadText> {
    match name {
        "" => Err(BadText::Empty),
        _ if name.contains('\0') => Err(BadText::Nul),
        _ if name.len() > NAME_BYTES_MAX => Err(BadText::Long),
        _ => Ok(Ident(format!("\"{}\"", name.replace('"', "\"\"")))),
    }
}

/// Quotes a text value.
///
/// # Errors
/// When it holds NUL.
pub fn quote_literal(text: &str) -> Result<Literal, BadText> {
    if text.contains('\0') {
        return Err(BadText::Nul);
    }
    let doubled = text.replace('\'', "''");
    // A backslash means itself or an escape, as the session is set; in the E form it always has to be doubled.
    Ok(Literal(if doubled.contains('\\') {
        format!("E'{}'", doubled.replace('\\', "\\\\"))
    } else {
        format!("'{doubled}'")
    }))
}

/// Quotes several text values and joins them by commas.
///
/// # Errors
/// As [`quote_literal`].
pub fn quote_literals<T: AsRef<str>>(texts: &[T]) -> Result<String, BadText> {
    let quoted: Result<Vec<_>, _> = texts.iter().map(|t| quote_literal(t.as_ref()).map(|l| l.0)).collect();
    Ok(quoted?.join(", "))
}

/// Joins quoted names by commas.
pub fn join<'a>(names: impl IntoIterator<Item = &'a Ident>) -> String {
    names.into_iter().map(|n| n.0.as_str()).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_or_refused_never_changed() {
        assert_eq!(quote_ident("a\"b").unwrap().to_string(), "\"a\"\"b\"");
        assert_eq!(quote_ident(""), Err(BadText::Empty));
        assert_eq!(quote_ident("a\0"), Err(BadText::Nul));
        assert!(quote_ident(&"x".repeat(63)).is_ok());
        assert_eq!(quote_ident(&"ä".repeat(32)), Err(BadText::Long));
    }

    #[test]
    fn values_are_quoted_in_a_form_that_no_setting_changes() {
        assert_eq!(quote_literal("a'b").unwrap().to_string(), "'a''b'");
        assert_eq!(quote_literal("a\\'b").unwrap().to_string(), "E'a\\\\''b'");
        assert_eq!(quote_literal("a\0"), Err(BadText::Nul));
    }
}
