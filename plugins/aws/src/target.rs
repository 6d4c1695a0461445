//! A target's settings: one account, and how the broker logs in there.

use leasehold_sdk::{Keys, SettingError, Settings};
use serde::Deserialize;

use crate::arn::Arn;

/// The audience that AWS expects in an assertion unless its provider was given another.
const AUDIENCE: &str = "sts.amazonaws.com";

/// A target's checked settings. Its keys are described in this crate's README.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TargetConfig {
    /// Where STS is asked, and what workloads are told.
    pub(crate) region: String,
    /// How the broker logs in.
    pub(crate) auth: Auth,
    /// The broker's own role there.
    pub(crate) role_arn: Option<String>,
    /// Who its assertions are for.
    pub(crate) audience: String,
    /// In place of AWS: an emulator.
    pub(crate) endpoint: Option<String>,
    /// Where Roles Anywhere is, if not at AWS.
    pub(crate) roles_anywhere_endpoint: Option<String>,
}

/// How the broker logs in: never with a key of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Auth {
    /// With an assertion of its own issuer.
    WebIdentity,
    /// With its SVID.
    RolesAnywhere {
        /// Who vouches for the SVID.
        trust_anchor_arn: String,
        /// What may be had there.
        profile_arn: String,
    },
    /// As the machine does that it runs on: the SDK's default chain.
    Environment,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum AuthWord {
    WebIdentity,
    RolesAnywhere,
    Environment,
}

impl TargetConfig {
    /// Checks a target's settings.
    ///
    /// # Errors
    /// The key that is wrong and why.
    pub(crate) fn read(settings: Settings) -> Result<Self, SettingError> {
        let mut keys = Keys::new(crate::NAME, settings);
        let region: String = keys.required("region", "where STS is asked, such as \"eu-central-1\"")?;
        let auth: AuthWord = keys.required("auth", "\"web_identity\", \"roles_anywhere\" or \"environment\"")?;
        let role_arn: Option<String> = keys.optional("role_arn")?;
        let audience = keys.optional("audience")?;
        let endpoint: Option<String> = keys.optional("endpoint")?;
        let roles_anywhere_endpoint: Option<String> = keys.optional("roles_anywhere_endpoint")?;
        let (anchor, profile) = (keys.optional("trust_anchor_arn")?, keys.optional("profile_arn")?);
        keys.finish()?;
        if !is_region(&region) {
            return Err(SettingError::new("region", "is no region such as \"eu-central-1\""));
        }
        for (key, url) in [("endpoint", &endpoint), ("roles_anywhere_endpoint", &roles_anywhere_endpoint)] {
            if let Some(url) = url {
                check_endpoint(url).map_err(|why| SettingError::new(key, why))?;
            }
        }
        if let Some(role) = &role_arn {
            check_role(role).map_err(|why| SettingError::new("role_arn", why))?;
        }
        let auth = choose(auth, anchor, profile, role_arn.as_deref())?;
        if audience.is_some() && auth != Auth::WebIdentity {
            return Err(SettingError::new("audience", "is for auth = \"web_identity\""));
        }
        let audience = audience.unwrap_or_else(|| AUDIENCE.to_owned());
        if audience.is_empty() || audience.len() > 255 || !audience.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(SettingError::new("audience", "must be 1 to 255 printable ASCII characters"));
        }
        Ok(Self { region, auth, role_arn, audience, endpoint, roles_anywhere_endpoint })
    }

    /// Whether the broker has a login of its own there, and not only assertions that buy its workloads' sessions.
    pub(crate) fn has_login(&self) -> bool {
        self.auth != Auth::WebIdentity || self.role_arn.is_some()
    }
}

fn choose(
    word: AuthWord,
    anchor: Option<String>,
    profile: Option<String>,
    role: Option<&str>,
) -> Result<Auth, SettingError> {
    let of_anywhere = |key, value: &Option<String>| match value {
        Some(_) => Err(SettingError::new(key, "is for auth = \"roles_anywhere\"")),
        None => Ok(()),
    };
    if let AuthWord::RolesAnywhere = word {
        let arn = |key, value: Option<String>, kind: &str| {
            let arn = value.ok_or_else(|| SettingError::new(key, "is missing: roles_anywhere needs it"))?;
            let good = Arn::parse(&arn).is_some_and(|a| a.service == "rolesanywhere" && a.resource.starts_with(kind));
            if good {
                Ok(arn)
            } else {
                Err(SettingError::new(key, format!("is no ARN of a {}", kind.trim_end_matches('/'))))
            }
        };
        if role.is_none() {
            return Err(SettingError::new("role_arn", "is missing: the broker's own role, for which its SVID is good"));
        }
        return Ok(Auth::RolesAnywhere {
            trust_anchor_arn: arn("trust_anchor_arn", anchor, "trust-anchor/")?,
            profile_arn: arn("profile_arn", profile, "profile/")?,
        });
    }
    of_anywhere("trust_anchor_arn", &anchor)?;
    of_anywhere("profile_arn", &profile)?;
    Ok(if let AuthWord::WebIdentity = word { Auth::WebIdentity } else { Auth::Environment })
}

/// Whether it may be part of a host name of AWS.
fn is_region(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (4..=32).contains(&text.len()) && text.contains('-') && text.bytes().all(plain)
}

/// An emulator is on this machine, or is asked by TLS.
fn check_endpoint(url: &str) -> Result<(), String> {
    let rest = url.strip_prefix("https://");
    let plain = url.strip_prefix("http://");
    let host = rest.or(plain).ok_or("must be a URL, http:// on this machine or https://")?;
    let host = host.trim_end_matches('/');
    if host.is_empty() || host.contains(['/', '?', '#', '@']) || !host.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("must be a scheme, a host and a port, and nothing more".into());
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if plain.is_some() && !(name == "localhost" || name == "[::1]" || name.starts_with("127.")) {
        return Err("must be https:// where it is not on this machine: keys go over it".into());
    }
    Ok(())
}

/// Whether it names a role.
pub(crate) fn check_role(arn: &str) -> Result<(), String> {
    let named = Arn::parse(arn).is_some_and(|arn| arn.role_name().is_some());
    named.then_some(()).ok_or_else(|| "is no ARN of a role, such as \"arn:aws:iam::123456789012:role/invoices\"".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(settings: serde_json::Value) -> Result<TargetConfig, SettingError> {
        let serde_json::Value::Object(settings) = settings else { unreachable!() };
        TargetConfig::read(settings)
    }

    #[test]
    fn each_key_is_checked() {
        let role = "arn:aws:iam::123456789012:role/leasehold";
        for (settings, key) in [
            (json!({"auth": "environment"}), "region"),
            (json!({"region": "eu.central", "auth": "environment"}), "region"),
            (json!({"region": "eu-central-1"}), "auth"),
            (json!({"region": "eu-central-1", "auth": "static"}), "auth"),
            (json!({"region": "eu-central-1", "auth": "environment", "access_key_id": "AKIA"}), "access_key_id"),
            (json!({"region": "eu-central-1", "auth": "environment", "audience": "x"}), "audience"),
            (json!({"region": "eu-central-1", "auth": "environment", "profile_arn": "x"}), "profile_arn"),
            (
                json!({"region": "eu-central-1", "auth": "environment", "endpoint": "http://moto.example:5000"}),
                "endpoint",
            ),
            (json!({"region": "eu-central-1", "auth": "environment", "endpoint": "http://127.0.0.1:1/x"}), "endpoint"),
            (json!({"region": "eu-central-1", "auth": "web_identity", "role_arn": "leasehold"}), "role_arn"),
            (json!({"region": "eu-central-1", "auth": "roles_anywhere"}), "role_arn"),
            (json!({"region": "eu-central-1", "auth": "roles_anywhere", "role_arn": role}), "trust_anchor_arn"),
        ] {
            assert_eq!(read(settings.clone()).unwrap_err().key, key, "{settings}");
        }
    }

    #[test]
    fn the_broker_may_have_no_login_at_all() {
        let config = read(json!({"region": "eu-central-1", "auth": "web_identity"})).unwrap();
        assert!(!config.has_login() && config.audience == AUDIENCE);
        assert!(read(json!({"region": "eu-central-1", "auth": "environment"})).unwrap().has_login());
    }
}
