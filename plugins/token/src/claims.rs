//! Claims of a role's own: texts with `{{ params.x }}` in them.

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
            let name = word.trim().strip_prefix("params.").ok_or("takes only {{ params.x }}")?;
            if !param(name) {
                return Err(format!("has {{{{ params.{name} }}}}, but the role's params have no {name:?}"));
            }
            parts.extend((!before.is_empty()).then(|| Part::Text(before.to_owned())));
            parts.push(Part::Param(name.to_owned()));
            rest = after;
        }
        parts.extend((!rest.is_empty()).then(|| Part::Text(rest.to_owned())));
        Ok(Self(parts))
    }

    /// The text with the params in it. `None`: one is not there.
    pub(crate) fn fill(&self, params: &BTreeMap<String, String>) -> Option<String> {
        let part = |part: &Part| match part {
            Part::Text(text) => Some(text.clone()),
            Part::Param(name) => params.get(name).cloned(),
        };
        self.0.iter().map(part).collect()
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
        assert_eq!(claim.fill(&params).unwrap(), "t-{{ params.tenant }}/{{ params.tenant }}");
        assert_eq!(claim.fill(&BTreeMap::new()), None);
        assert_eq!(parse("tier", "gold").unwrap().fill(&BTreeMap::new()).unwrap(), "gold");
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
            ("tenant", "{{ params.region }}", "no \"region\""),
            ("tenant", "a\nb", "one line"),
        ] {
            let said = parse(name, text).unwrap_err();
            assert!(said.contains(why), "{name} {text}: {said}");
        }
    }
}
