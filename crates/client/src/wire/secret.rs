//! Reading secrets without leaving copies.

use std::fmt;

use secrecy::SecretString;
use serde::Deserializer;
use serde::de::{Error, Visitor};

/// Reads a text or null into a secret. The text is copied once, into memory of its final size that is wiped when dropped.
pub(super) fn optional<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SecretString>, D::Error> {
    from.deserialize_option(SecretVisitor)
}

struct SecretVisitor;

impl<'de> Visitor<'de> for SecretVisitor {
    type Value = Option<SecretString>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        // Not `deserialize_string`: an owned String may have spare room, and giving that back would leave a copy behind.
        from.deserialize_str(self)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(SecretString::from(text)))
    }
}
