//! SPIFFE IDs and trust domain names, exactly as SPIFFE-ID 2 defines them.

use std::fmt;
use std::str::{FromStr, Split};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::limits::{SPIFFE_ID_BYTES_MAX, TRUST_DOMAIN_BYTES_MAX};

const SCHEME: &str = "spiffe://";

/// A well-formed SPIFFE ID, for example `spiffe://prod.example.org/ns/billing/sa/web`.
///
/// It may name a whole trust domain (no path); a leaf certificate may not, which the verifier checks. Nothing is normalised:
/// two IDs are equal when their bytes are. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    text: Arc<str>,
    domain: TrustDomain,
}

/// The name of a trust domain, for example `prod.example.org`. Opaque: it is never resolved. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(Arc<str>);

/// The segments of an ID's path, first to last.
pub type Segments<'a> = std::iter::Skip<Split<'a, char>>;

/// Why a text is not a SPIFFE ID or not a trust domain name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// The whole is longer than [`SPIFFE_ID_BYTES_MAX`].
    #[error("it is {bytes} bytes long, more than {SPIFFE_ID_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It does not begin with `spiffe://`, in lower case.
    #[error("it does not begin with spiffe:// (in lower case)")]
    NotSpiffe,
    /// Nothing stands where the trust domain should.
    #[error("the trust domain is empty")]
    NoTrustDomain,
    /// The trust domain is longer than [`TRUST_DOMAIN_BYTES_MAX`].
    #[error("the trust domain is {bytes} bytes long, more than {TRUST_DOMAIN_BYTES_MAX}")]
    TrustDomainTooLong {
        /// Its length.
        bytes: usize,
    },
    /// The trust domain has capitals.
    #[error("the trust domain is not in lower case")]
    TrustDomainUpperCase,
    /// The authority has a user part.
    #[error("a user part (the @ sign) is not allowed")]
    UserInfo,
    /// The authority has a port.
    #[error("a port (the colon) is not allowed")]
    Port,
    /// There is a query.
    #[error("a query (the question mark) is not allowed")]
    Query,
    /// There is a fragment.
    #[error("a fragment (the number sign) is not allowed")]
    Fragment,
    /// Something is percent-encoded.
    #[error("percent-encoding is not allowed")]
    PercentEncoding,
    /// A character that a trust domain cannot hold.
    #[error("{0:?} cannot stand in a trust domain: only a-z, 0-9, dot, dash and underscore can")]
    TrustDomainChar(char),
    /// A character that a path cannot hold.
    #[error("{0:?} cannot stand in a path: only a-z, A-Z, 0-9, dot, dash and underscore can")]
    PathChar(char),
    /// Two slashes in a row.
    #[error("the path has an empty segment")]
    EmptySegment,
    /// A segment is `.` or `..`.
    #[error("a path segment is . or ..")]
    DotSegment,
    /// The path ends in a slash.
    #[error("it ends in a slash")]
    TrailingSlash,
}

impl SpiffeId {
    /// Reads an ID.
    ///
    /// # Errors
    /// An [`IdError`] for the first rule of SPIFFE-ID 2.1 to 2.3 that does not hold.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        if text.len() > SPIFFE_ID_BYTES_MAX {
            return Err(IdError::TooLong { bytes: text.len() });
        }
        let rest = text.strip_prefix(SCHEME).ok_or(IdError::NotSpiffe)?;
        check_whole(rest)?;
        let (domain, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let domain = TrustDomain::parse(domain)?;
        check_path(path)?;
        Ok(Self { text: text.into(), domain })
    }

    /// The whole ID as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its trust domain.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// The path with its leading slash, or an empty text if there is none.
    pub fn path(&self) -> &str {
        &self.text[SCHEME.len() + self.domain.0.len()..]
    }

    /// The path's segments; none for an ID without a path.
    pub fn segments(&self) -> Segments<'_> {
        // The path begins with a slash, so what stands before the first one is never a segment.
        self.path().split('/').skip(1)
    }
}

impl TrustDomain {
    /// Reads the name of a trust domain (without `spiffe://`).
    ///
    /// # Errors
    /// An [`IdError`] for the first rule of SPIFFE-ID 2.1 and 2.3 that does not hold.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        if text.is_empty() {
            return Err(IdError::NoTrustDomain);
        }
        if text.len() > TRUST_DOMAIN_BYTES_MAX {
            return Err(IdError::TrustDomainTooLong { bytes: text.len() });
        }
        for c in text.chars() {
            match c {
                'a'..='z' | '0'..='9' | '.' | '-' | '_' => {}
                'A'..='Z' => return Err(IdError::TrustDomainUpperCase),
                '@' => return Err(IdError::UserInfo),
                ':' => return Err(IdError::Port),
                '%' => return Err(IdError::PercentEncoding),
                other => return Err(IdError::TrustDomainChar(other)),
            }
        }
        Ok(Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The ID in this domain with the given path (`/ns/billing`), or of the domain itself for an empty path.
    ///
    /// # Errors
    /// An [`IdError`] if the path breaks a rule or the whole becomes too long.
    pub fn id(&self, path: &str) -> Result<SpiffeId, IdError> {
        SpiffeId::parse(&format!("{SCHEME}{}{path}", self.0))
    }
}

/// What may stand nowhere in an ID; named separately because these are the mistakes people make.
fn check_whole(rest: &str) -> Result<(), IdError> {
    for c in rest.chars() {
        match c {
            '?' => return Err(IdError::Query),
            '#' => return Err(IdError::Fragment),
            '%' => return Err(IdError::PercentEncoding),
            _ => {}
        }
    }
    Ok(())
}

fn check_path(path: &str) -> Result<(), IdError> {
    if path.is_empty() {
        return Ok(());
    }
    if path.ends_with('/') {
        return Err(IdError::TrailingSlash);
    }
    for segment in path.split('/').skip(1) {
        match segment {
            "" => return Err(IdError::EmptySegment),
            "." | ".." => return Err(IdError::DotSegment),
            _ => {}
        }
        let odd = |c: &char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
        if let Some(c) = segment.chars().find(odd) {
            return Err(IdError::PathChar(c));
        }
    }
    Ok(())
}

/// What the two text types have in common.
macro_rules! text_type {
    ($type:ident) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }

        impl FromStr for $type {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(from)?;
                Self::parse(&text).map_err(de::Error::custom)
            }
        }
    };
}

text_type!(SpiffeId);
text_type!(TrustDomain);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_an_id() {
        let id = SpiffeId::parse("spiffe://prod.example.org/ns/billing/sa/Web-1_x.y").expect("good");
        assert_eq!(id.trust_domain().as_str(), "prod.example.org");
        assert_eq!(id.path(), "/ns/billing/sa/Web-1_x.y");
        assert_eq!(id.segments().collect::<Vec<_>>(), ["ns", "billing", "sa", "Web-1_x.y"]);
        let domain = SpiffeId::parse("spiffe://10.0.0.1").expect("good");
        assert_eq!(domain.path(), "");
        assert_eq!(domain.segments().count(), 0);
    }
}
