//! Explicit permissions: these identities may do these actions on these roles.

use std::collections::BTreeMap;
use std::fmt;

use leasehold_identity::{SpiffeId, TrustDomain};

use super::role::ParamPattern;

/// What a grant can allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Ask for a credential of a role, and renew it.
    Mint,
    /// See leases of others.
    Read,
    /// End leases of others.
    Revoke,
    /// Run the broker: reconcile, forget targets, block identities.
    Admin,
    /// Exchange tokens.
    Exchange,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 5] = [Self::Mint, Self::Read, Self::Revoke, Self::Admin, Self::Exchange];

    /// The word for it in the configuration and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mint => "mint",
            Self::Read => "read",
            Self::Revoke => "revoke",
            Self::Admin => "admin",
            Self::Exchange => "exchange",
        }
    }

    /// The action of that word.
    pub fn parse(s: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.as_str() == s)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One grant.
#[derive(Debug, Clone)]
pub struct Grant {
    /// Its name, told to callers and in the audit log.
    pub name: String,
    /// Who.
    pub identities: Vec<IdPattern>,
    /// On which roles.
    pub roles: RoleSet,
    /// Doing what.
    pub actions: Vec<Action>,
    /// Narrower forms of the roles' params.
    pub params: BTreeMap<String, ParamPattern>,
    /// For exchanges: on whose behalf.
    pub subjects: Vec<IdPattern>,
}

/// The roles of a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleSet {
    /// `["*"]`: every role; never for minting.
    All,
    /// These.
    Named(Vec<String>),
}

impl RoleSet {
    /// Whether `role` is among them.
    pub fn contains(&self, role: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.iter().any(|n| n == role),
        }
    }
}

/// Which identities: a SPIFFE ID in which whole path segments may be `*`, or `{name}`, which means the same and gives what stands there
/// a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdPattern {
    text: String,
    trust_domain: TrustDomain,
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Any,
    Named(String),
}

/// Why a pattern is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Not `spiffe://<trust domain>/<path>`.
    #[error("{0:?} is not a SPIFFE ID or a pattern of one: {1}")]
    NotAnId(String, String),
    /// `*` in the trust domain.
    #[error("{0:?} is over-broad: '*' may not stand in the trust domain")]
    WildTrustDomain(String),
    /// `**`.
    #[error("{0:?} is over-broad: '**' is not taken; '*' is one whole path segment")]
    DoubleStar(String),
    /// `*` in part of a segment.
    #[error("{0:?} is over-broad: '*' must be a whole path segment, not a part of one")]
    PartOfSegment(String),
    /// `{…}` that is no name.
    #[error(
        "{0:?}: {{name}} must be a whole path segment, its name 1 to 32 characters of a-z, 0-9 and _, and no name may come twice"
    )]
    BadName(String),
    /// No literal segment at all.
    #[error("{0:?} is over-broad: at least one path segment must be literal")]
    NoLiteral(String),
}

impl IdPattern {
    /// Reads a pattern and refuses an over-broad one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let not_an_id = |why: String| PatternError::NotAnId(text.to_owned(), why);
        let rest = text.strip_prefix("spiffe://").ok_or_else(|| not_an_id("it must begin with spiffe://".into()))?;
        let (domain, path) =
            rest.split_once('/').ok_or_else(|| not_an_id("it has no path; nobody authenticates without one".into()))?;
        if domain.contains('*') {
            return Err(PatternError::WildTrustDomain(text.to_owned()));
        }
        let mut segments = Vec::new();
        for segment in path.split('/') {
            let bad_name = || PatternError::BadName(text.to_owned());
            segments.push(match segment {
                "*" => Segment::Any,
                s if s.contains("**") => return Err(PatternError::DoubleStar(text.to_owned())),
                s if s.contains('*') => return Err(PatternError::PartOfSegment(text.to_owned())),
                s if s.contains(['{', '}']) => {
                    let named = name_in(s).map(|name| Segment::Named(name.to_owned())).ok_or_else(bad_name)?;
                    if segments.contains(&named) {
                        return Err(bad_name());
                    }
                    named
                }
                s => Segment::Literal(s.to_owned()),
            });
        }
        if !segments.iter().any(|segment| matches!(segment, Segment::Literal(_))) {
            return Err(PatternError::NoLiteral(text.to_owned()));
        }
        // With its wildcards filled in it must be an ID: the rules of SPIFFE-ID section 2 have one owner.
        let filled = segments.iter().map(|segment| match segment {
            Segment::Literal(text) => text.as_str(),
            Segment::Any | Segment::Named(_) => "x",
        });
        let filled = format!("spiffe://{domain}/{}", filled.collect::<Vec<_>>().join("/"));
        let id = SpiffeId::parse(&filled).map_err(|e| not_an_id(e.to_string()))?;
        let trust_domain = TrustDomain::parse(domain).map_err(|e| not_an_id(e.to_string()))?;
        debug_assert_eq!(id.segments().count(), segments.len());
        Ok(Self { text: text.to_owned(), trust_domain, segments })
    }

    /// The trust domain of all that it means.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The names that it gives to segments.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Named(name) => Some(name.as_str()),
            Segment::Literal(_) | Segment::Any => None,
        })
    }

    /// Whether `id` is meant: same trust domain, as many segments, each literal one equal.
    pub fn matches(&self, id: &SpiffeId) -> bool {
        let mut have = id.segments();
        let fits = |want: &Segment, have: &str| match want {
            Segment::Literal(literal) => literal == have,
            Segment::Any | Segment::Named(_) => true,
        };
        id.trust_domain() == &self.trust_domain
            && self.segments.iter().all(|want| have.next().is_some_and(|have| fits(want, have)))
            && have.next().is_none()
    }

    /// What stands in `id` where the pattern has names; `None` when `id` is not meant.
    pub fn captured(&self, id: &SpiffeId) -> Option<BTreeMap<String, String>> {
        let named = |(want, have): (&Segment, &str)| match want {
            Segment::Named(name) => Some((name.clone(), have.to_owned())),
            Segment::Literal(_) | Segment::Any => None,
        };
        self.matches(id).then(|| self.segments.iter().zip(id.segments()).filter_map(named).collect())
    }
}

/// The name in `{name}`.
fn name_in(segment: &str) -> Option<&str> {
    let name = segment.strip_prefix('{')?.strip_suffix('}')?;
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    ((1..=32).contains(&name.len()) && name.bytes().all(plain)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(s: &str) -> SpiffeId {
        SpiffeId::parse(s).unwrap()
    }

    #[test]
    fn whole_segments_only() {
        let p = IdPattern::parse("spiffe://d.example/ns/a/sa/*").unwrap();
        assert!(p.matches(&id("spiffe://d.example/ns/a/sa/x")));
        for other in [
            "spiffe://d.example/ns/ab/sa/x",
            "spiffe://d.example/ns/a/sa",
            "spiffe://d.example/ns/a/sa/x/y",
            "spiffe://e.example/ns/a/sa/x",
            "spiffe://d.example/NS/a/sa/x",
        ] {
            assert!(!p.matches(&id(other)), "{other}");
        }
    }

    #[test]
    fn what_stands_at_a_name_is_told() {
        let p = IdPattern::parse("spiffe://d/ns/{team}/sa/{account}").unwrap();
        assert_eq!(p.names().collect::<Vec<_>>(), ["team", "account"]);
        let captured = p.captured(&id("spiffe://d/ns/red/sa/web")).unwrap();
        assert_eq!(
            captured.into_iter().collect::<Vec<_>>(),
            [("account".into(), "web".into()), ("team".into(), "red".into())]
        );
        assert_eq!(p.captured(&id("spiffe://d/ns/red/x/web")), None);
        assert_eq!(p.captured(&id("spiffe://e/ns/red/sa/web")), None);
    }

    #[test]
    fn over_broad_patterns_are_refused() {
        for bad in [
            "spiffe://*/a",
            "spiffe://d.*/a",
            "spiffe://d/**",
            "spiffe://d/a/**",
            "spiffe://d/a*",
            "spiffe://d/*",
            "spiffe://d/*/*",
            "spiffe://d",
            "spiffe://d/",
            "spiffe://d//a",
            "spiffe://D/a",
            "*",
            "",
            "https://d/a",
            "spiffe://d/{x}",
            "spiffe://d/a/{x}/{x}",
            "spiffe://d/a/{X}",
            "spiffe://d/a/{}",
            "spiffe://d/a/b{x}",
            "spiffe://{d}/a/b",
        ] {
            assert!(IdPattern::parse(bad).is_err(), "{bad}");
        }
        assert!(IdPattern::parse("spiffe://d/*/a").is_ok());
    }
}
