//! Claims of a role's own: texts with `{{ params.x }}` and `{{ identity.x }}` in them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Longest text of a claim, in bytes, before the params are put in.
const CLAIM_BYTES_MAX: usize = 1024;

/// Names that mean something already (RFC 7519, RFC 8693, RFC 8705, RFC 9068, OpenID Connect): a role must not speak for the
/// issuer. What begins with a letter of ours is not reserved; a verifier reads only what it was told of.
const RESERVED: [&str; 30] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "client_id",
    "scope",
    "scp",
    "cnf",
    "act",
    "may_act",
    "azp",
    "auth_time",
    "acr",
    "amr",
    "nonce",
    "at_hash",
    "c_hash",
    "sid",
    "sub_jwk",
    "status",
    "authorization_details",
    "groups",
    "roles",
    "entitlements",
    "events",
    "token_use",
    "typ",
];

/// The text of one claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClaimTemplate(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Part {
    Text(String),
    Param(String),
    /// What stands in the caller's SPIFFE ID where the pattern of its grant has this name.
    Identity(String),
}

impl ClaimTemplate {
    /// Reads the text of the claim `name`; `param` says whether a param of that name exists.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(name: &str, text: &str, param: impl Fn(&str) -> bool) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '/');
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            return Err("its name must be 1 to 64 letters, digits and _-.:/".into());
        }
        if RESERVED.contains(&name) {
            return Err(format!("{name} is the issuer's own to say"));
        }
        if text.len() > CLAIM_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(format!("must be at most {CLAIM_BYTES_MAX} bytes on one line"));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, inner)) = rest.split_once("{{") {
            let (word, after) = inner.split_once("}}").ok_or("has {{ without }}")?;
            parts.extend((!before.is_empty()).then(|| Part::Text(before.to_owned())));
            parts.push(match word.trim().split_once('.') {
                Some(("params", name)) if param(name) => Part::Param(name.to_owned()),
                Some(("params", name)) => {
                    return Err(format!("has {{{{ params.{name} }}}}, but the role's params have no {name:?}"));
                }
                Some(("identity", name)) if !name.is_empty() => Part::Identity(name.to_owned()),
                _ => return Err("takes only {{ params.x }} and {{ identity.x }}".into()),
            });
            rest = after;
        }
        parts.extend((!rest.is_empty()).then(|| Part::Text(rest.to_owned())));
        Ok(Self(parts))
    }

    /// The text with what the caller passed and what its identity says in it. `None`: one is not there.
    pub(crate) fn fill(
        &self,
        params: &BTreeMap<String, String>,
        captured: &BTreeMap<String, String>,
    ) -> Option<String> {
        let part = |part: &Part| match part {
            Part::Text(text) => Some(text.clone()),
            Part::Param(name) => params.get(name).cloned(),
            Part::Identity(name) => captured.get(name).cloned(),
        };
        self.0.iter().map(part).collect()
    }

    /// The names of an identity's segments in it.
    pub(crate) fn captures(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Identity(name) => Some(name.as_str()),
            Part::Text(_) | Part::Param(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str, text: &str) -> Result<ClaimTemplate, String> {
        ClaimTemplate::parse(name, text, |param| param == "tenant")
    }

    #[test]
    fn params_are_put_in_as_they_are() {
        let claim = parse("tenant", "t-{{ params.tenant }}/{{params.tenant}}").unwrap();
        // A param that looks like a placeholder is a text.
        let params = BTreeMap::from([("tenant".to_owned(), "{{ params.tenant }}".to_owned())]);
        let none = BTreeMap::new();
        assert_eq!(claim.fill(&params, &none).unwrap(), "t-{{ params.tenant }}/{{ params.tenant }}");
        assert_eq!(claim.fill(&none, &params), None, "what an identity says is no param");
        assert_eq!(parse("tier", "gold").unwrap().fill(&none, &none).unwrap(), "gold");
        let claim = parse("team", "{{ identity.team }}").unwrap();
        assert_eq!(claim.captures().collect::<Vec<_>>(), ["team"]);
        let red = BTreeMap::from([("team".to_owned(), "red".to_owned())]);
        assert_eq!((claim.fill(&none, &red).as_deref(), claim.fill(&red, &none)), (Some("red"), None));
    }

    #[test]
    fn what_the_issuer_says_is_no_roles_to_say() {
        for (name, text, why) in [
            ("sub", "spiffe://other/x", "the issuer's own"),
            ("cnf", "x", "the issuer's own"),
            ("", "x", "name"),
            ("a b", "x", "name"),
            ("tenant", "{{ params.tenant", "without }}"),
            ("tenant", "{{ identity }}", "only {{ params.x }}"),
            ("tenant", "{{ identity. }}", "only {{ params.x }}"),
            ("tenant", "{{ params.region }}", "no \"region\""),
            ("tenant", "a\nb", "one line"),
        ] {
            let said = parse(name, text).unwrap_err();
            assert!(said.contains(why), "{name} {text}: {said}");
        }
    }
}
