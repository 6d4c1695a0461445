//! Reading maps strictly: a key that comes twice is an error. Whoever looked at the request before must not have seen another
//! value than the broker (RFC 8259 section 4 leaves it open).

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserializer;
use serde::de::{Error, MapAccess, Visitor};

/// Reads an object of texts, or null.
pub(super) fn optional<'de, D: Deserializer<'de>>(from: D) -> Result<Option<BTreeMap<String, String>>, D::Error> {
    from.deserialize_option(Params)
}

struct Params;

impl<'de> Visitor<'de> for Params {
    type Value = Option<BTreeMap<String, String>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of texts")
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let mut all = BTreeMap::new();
        while let Some((key, value)) = from.next_entry::<String, String>()? {
            if all.contains_key(&key) {
                return Err(A::Error::custom(format!("duplicate param {key:?}")));
            }
            all.insert(key, value);
        }
        Ok(Some(all))
    }
}
