//! Names that are decided before anything exists: the lease id, and the account that follows from it.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE32HEX_NOPAD, Encoding, Specification};
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

use crate::clock::{self, Timestamp};
use crate::random;

/// Why a text is not one of our names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not a lease id.
    #[error("a lease id is 26 characters of 0-9 and a-v")]
    LeaseId,
    /// Not a cluster name.
    #[error("a cluster name is 1 to 16 characters of a-z, 0-9 and '-'")]
    Cluster,
    /// Not a store tag.
    #[error("a store tag is 4 characters of 0-9 and a-v")]
    Tag,
    /// Not an account name of ours.
    #[error("an account name is lh_<cluster>_<tag>_<lease id>")]
    Account,
}

/// base32hex in lower case: its order is the order of the bytes, so that ids sort by the time they carry.
static BASE32: LazyLock<Encoding> = LazyLock::new(|| {
    let mut spec = Specification::new();
    spec.symbols.push_str("0123456789abcdefghijklmnopqrstuv");
    spec.encoding().expect("32 distinct symbols")
});

/// The id of one lease: a UUIDv7 (RFC 9562 section 5.7) as 26 base32 characters. It sorts by time and is no secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId([u8; 16]);

impl LeaseId {
    /// A new id, made now.
    pub fn new() -> Self {
        Self::at(clock::wall())
    }

    /// A new id that carries `at`.
    pub fn at(at: Timestamp) -> Self {
        let ms = u64::try_from(at.unix_ms()).unwrap_or(0);
        Self(uuid::Builder::from_unix_timestamp_millis(ms, &random::bytes()).into_uuid().into_bytes())
    }

    /// The first id that carries `at`: a bound to compare with, and no lease's.
    pub fn first_of(at: Timestamp) -> Self {
        let ms = u64::try_from(at.unix_ms()).unwrap_or(0);
        Self(uuid::Builder::from_unix_timestamp_millis(ms, &[0; 10]).into_uuid().into_bytes())
    }

    /// When the id was made, by the clock of the broker that made it.
    pub fn made_at(&self) -> Timestamp {
        let mut ms = [0u8; 8];
        ms[2..].copy_from_slice(&self.0[..6]);
        Timestamp::from_unix_ms(i64::from_be_bytes(ms))
    }

    /// The 64 low bits, which are random but for two: a key for locks in a target.
    pub fn lock_key(&self) -> i64 {
        i64::from_be_bytes(self.0[8..].try_into().expect("eight bytes"))
    }
}

impl Default for LeaseId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE32.encode(&self.0))
    }
}

impl fmt::Debug for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for LeaseId {
    type Err = IdError;

    fn from_str(s: &str) -> Result<Self, IdError> {
        if s.len() != 26 {
            return Err(IdError::LeaseId);
        }
        let bytes = BASE32.decode(s.as_bytes()).map_err(|_| IdError::LeaseId)?;
        Ok(Self(bytes.try_into().map_err(|_| IdError::LeaseId)?))
    }
}

/// The name of a cluster of brokers, `[a-z0-9-]{1,16}`: part of every account name.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ClusterName(String);

impl FromStr for ClusterName {
    type Err = IdError;

    fn from_str(s: &str) -> Result<Self, IdError> {
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if (1..=16).contains(&s.len()) && s.bytes().all(good) { Ok(Self(s.to_owned())) } else { Err(IdError::Cluster) }
    }
}

impl ClusterName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Four characters made with the store, so that two stores of one cluster name never touch each other's accounts.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct StoreTag(String);

impl StoreTag {
    /// A new random tag.
    pub fn new() -> Self {
        let text = BASE32HEX_NOPAD.encode(&random::bytes::<5>()).to_ascii_lowercase();
        Self(text[..4].to_owned())
    }

    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for StoreTag {
    fn default() -> Self {
        Self::new()
    }
}

impl FromStr for StoreTag {
    type Err = IdError;

    fn from_str(s: &str) -> Result<Self, IdError> {
        let good = |b: u8| b.is_ascii_digit() || (b'a'..=b'v').contains(&b);
        if s.len() == 4 && s.bytes().all(good) { Ok(Self(s.to_owned())) } else { Err(IdError::Tag) }
    }
}

/// The name under which a credential exists in its target: `lh_<cluster>_<tag>_<lease id>`, at most 51 bytes.
/// It is the only name that an engine may create or drop (law 10).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct AccountName {
    cluster: ClusterName,
    tag: StoreTag,
    lease: LeaseId,
}

impl AccountName {
    /// The account of `lease`.
    pub fn new(cluster: ClusterName, tag: StoreTag, lease: LeaseId) -> Self {
        Self { cluster, tag, lease }
    }

    /// The cluster in the name.
    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// The store tag in the name.
    pub fn tag(&self) -> &StoreTag {
        &self.tag
    }

    /// The lease in the name.
    pub fn lease(&self) -> LeaseId {
        self.lease
    }
}

impl FromStr for AccountName {
    type Err = IdError;

    fn from_str(s: &str) -> Result<Self, IdError> {
        let mut parts = s.strip_prefix("lh_").ok_or(IdError::Account)?.split('_');
        let mut next = || parts.next().ok_or(IdError::Account);
        let name = Self::new(next()?.parse()?, next()?.parse()?, next()?.parse()?);
        if parts.next().is_some() { Err(IdError::Account) } else { Ok(name) }
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lh_{}_{}_{}", self.cluster.0, self.tag.0, self.lease)
    }
}

macro_rules! text_serde {
    ($($t:ty),*) => {$(
        impl Serialize for $t {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> { s.collect_str(self) }
        }
        impl<'de> Deserialize<'de> for $t {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
text_serde!(LeaseId, ClusterName, StoreTag, AccountName);

macro_rules! text_fmt {
    ($($t:ty),*) => {$(
        impl fmt::Display for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }
        impl fmt::Debug for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }
    )*};
}
text_fmt!(ClusterName, StoreTag);

impl fmt::Debug for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_account_name_is_short_and_reads_back() {
        let name = AccountName::new("abcdefghijklmnop".parse().unwrap(), StoreTag::new(), LeaseId::new());
        assert_eq!(name.to_string().len(), 51);
        assert_eq!(name.to_string().parse::<AccountName>().unwrap(), name);
    }

    proptest! {
        #[test]
        fn ids_sort_by_time(a in 0i64..1 << 47, b in 0i64..1 << 47) {
            let (x, y) = (LeaseId::at(Timestamp::from_unix_ms(a)), LeaseId::at(Timestamp::from_unix_ms(b)));
            prop_assert_eq!(x.made_at(), Timestamp::from_unix_ms(a));
            if a != b { prop_assert_eq!(x.to_string() < y.to_string(), a < b); }
        }

        #[test]
        fn any_text_is_refused_or_reads_back_as_itself(s in ".{0,60}") {
            if let Ok(name) = s.parse::<AccountName>() { prop_assert_eq!(name.to_string(), s.clone()); }
            if let Ok(id) = s.parse::<LeaseId>() { prop_assert_eq!(id.to_string(), s); }
        }
    }
}
