//! A role's settings: what its tokens say.

use std::collections::BTreeMap;

use leasehold_sdk::{JwtAlgorithm, Keys, RoleContext, RoleSettings, SettingError, Settings};
use serde::{Deserialize, Serialize};

use crate::claims::ClaimTemplate;

/// Most scopes of a role, and most claims.
const LIST_MAX: usize = 50;

/// Longest scope, in bytes.
const SCOPE_BYTES_MAX: usize = 128;

/// A role's checked settings. Its keys are described in this crate's README.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RoleConfig {
    /// What its tokens allow, at most.
    pub(crate) scopes: Vec<String>,
    /// Claims beside those that every token has.
    pub(crate) claims: BTreeMap<String, ClaimTemplate>,
    /// What the token is good together with.
    pub(crate) bind: Bind,
    /// How it is signed.
    pub(crate) algorithm: JwtAlgorithm,
}

/// What a token is good together with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Bind {
    /// The certificate that asked for it (RFC 8705 section 3): a stolen token is worth nothing without the key.
    #[default]
    Certificate,
    /// Nothing: whoever has it can use it.
    None,
}

impl RoleConfig {
    /// Checks a role's settings.
    ///
    /// # Errors
    /// The key that is wrong and why.
    pub(crate) fn read(context: &RoleContext, settings: Settings) -> Result<Self, SettingError> {
        let mut keys = Keys::new(crate::NAME, settings);
        let scopes: Vec<String> = keys.required("scopes", "what its tokens allow, such as [\"payments:read\"]")?;
        let claims: BTreeMap<String, String> = keys.optional("claims")?.unwrap_or_default();
        let bind = keys.optional("bind")?.unwrap_or_default();
        let algorithm = keys.optional("algorithm")?.unwrap_or(JwtAlgorithm::Es256);
        keys.finish()?;
        if scopes.is_empty() || scopes.len() > LIST_MAX {
            return Err(SettingError::new("scopes", format!("must be 1 to {LIST_MAX} scopes")));
        }
        if let Some(bad) = scopes.iter().find(|scope| !is_scope(scope)) {
            let why = format!(
                "{bad:?} is no scope: 1 to {SCOPE_BYTES_MAX} printable ASCII characters, without space, \" and \\"
            );
            return Err(SettingError::new("scopes", why));
        }
        if claims.len() > LIST_MAX {
            return Err(SettingError::new("claims", format!("must be at most {LIST_MAX}")));
        }
        let known = |name: &str| context.params.iter().any(|param| param == name);
        let claim = |(name, text): (String, String)| {
            let claim = ClaimTemplate::parse(&name, &text, known);
            claim.map(|claim| (name.clone(), claim)).map_err(|why| SettingError::new(format!("claims.{name}"), why))
        };
        Ok(Self { scopes, claims: claims.into_iter().map(claim).collect::<Result<_, _>>()?, bind, algorithm })
    }

    /// The scopes of a token: those asked for that the role has; all of the role's when none is asked for.
    ///
    /// # Errors
    /// When nothing is left, or what is asked for is no list of scopes.
    pub(crate) fn choose(&self, asked: Option<&str>) -> Result<Vec<String>, String> {
        let Some(asked) = asked else { return Ok(self.scopes.clone()) };
        let asked: Vec<&str> = asked.split(' ').filter(|scope| !scope.is_empty()).collect();
        if asked.is_empty() || asked.len() > LIST_MAX || !asked.iter().all(|scope| is_scope(scope)) {
            return Err(format!("scope must be 1 to {LIST_MAX} scopes with spaces between (RFC 6749 section 3.3)"));
        }
        let left: Vec<String> = self.scopes.iter().filter(|scope| asked.contains(&scope.as_str())).cloned().collect();
        if left.is_empty() {
            return Err(format!("the role has none of these scopes; it has {}", self.scopes.join(" ")));
        }
        Ok(left)
    }

    /// The form in which the core keeps it.
    pub(crate) fn into_settings(self) -> RoleSettings {
        RoleSettings(serde_json::to_value(self).unwrap_or_default())
    }

    /// Back from the core's form.
    pub(crate) fn from_settings(settings: &RoleSettings) -> Result<Self, String> {
        serde_json::from_value(settings.0.clone()).map_err(|e| format!("the role's settings are not ours: {e}"))
    }
}

/// RFC 6749 section 3.3: `scope-token`.
fn is_scope(text: &str) -> bool {
    let fits = (1..=SCOPE_BYTES_MAX).contains(&text.len());
    fits && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(settings: serde_json::Value) -> Result<RoleConfig, SettingError> {
        let context = RoleContext::of_an_hour("payments-write", vec!["tenant".into()]);
        let serde_json::Value::Object(settings) = settings else { unreachable!() };
        RoleConfig::read(&context, settings)
    }

    #[test]
    fn each_key_is_checked() {
        for (settings, key) in [
            (json!({}), "scopes"),
            (json!({"scopes": []}), "scopes"),
            (json!({"scopes": ["two words"]}), "scopes"),
            (json!({"scopes": ["a\"b"]}), "scopes"),
            (json!({"scopes": ["a"], "bind": "dpop"}), "bind"),
            (json!({"scopes": ["a"], "algorithm": "none"}), "algorithm"),
            (json!({"scopes": ["a"], "algorithm": "HS256"}), "algorithm"),
            (json!({"scopes": ["a"], "claims": {"sub": "x"}}), "claims.sub"),
            (json!({"scopes": ["a"], "member_of": ["x"]}), "member_of"),
        ] {
            assert_eq!(read(settings.clone()).unwrap_err().key, key, "{settings}");
        }
    }

    #[test]
    fn nobody_gets_a_scope_that_the_role_has_not() {
        let role = read(json!({"scopes": ["a:read", "a:write"]})).unwrap();
        assert_eq!((role.bind, role.algorithm), (Bind::Certificate, JwtAlgorithm::Es256), "unless said");
        assert_eq!(role.choose(None).unwrap(), ["a:read", "a:write"]);
        assert_eq!(role.choose(Some("admin a:write  a:write")).unwrap(), ["a:write"]);
        for asked in ["", " ", "admin", "a:Read", "a:read\tb", "\"a\""] {
            assert!(role.choose(Some(asked)).is_err(), "{asked:?}");
        }
    }
}
