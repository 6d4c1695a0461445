//! A role's settings: what its credentials are and may do.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use leasehold_sdk::{Keys, RoleContext, RoleSettings, SettingError, Settings};
use serde::{Deserialize, Serialize};

use crate::arn::Arn;
use crate::policy::Source;
use crate::target::{Auth, TargetConfig, check_role};

/// Shortest session (STS: `DurationSeconds`).
pub(crate) const SESSION_MIN: Duration = Duration::from_secs(900);
/// Longest session of a role.
const SESSION_MAX: Duration = Duration::from_secs(12 * 3600);
/// Longest session that is bought with another session (role chaining).
pub(crate) const CHAINED_MAX: Duration = Duration::from_secs(3600);
/// Longest session of a user.
const OF_USER_MAX: Duration = Duration::from_secs(36 * 3600);

/// Session policies: inline text and ARNs together, in characters.
const SESSION_POLICY_MAX: usize = 2048;
/// What a user's own inline policies may be together is 2,048 characters, and ours needs some.
const USER_POLICY_MAX: usize = 1200;
/// Managed policies of one session or user.
const POLICY_ARNS_MAX: usize = 10;
/// Tags beside ours.
const TAGS_MAX: usize = 40;

/// A role's checked settings. Its keys are described in this crate's README.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RoleConfig {
    /// Its name in the configuration: what an assertion is about.
    pub(crate) name: String,
    /// What its credentials are.
    pub(crate) method: Method,
    /// What they may do; for a session never more than what it is a session of.
    pub(crate) policy: Option<String>,
    /// Managed policies beside.
    pub(crate) policy_arns: Vec<String>,
    /// Tags beside ours.
    pub(crate) tags: BTreeMap<String, String>,
    /// The longest that its credentials live, in seconds.
    pub(crate) longest: u64,
}

/// What a role's credentials are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Method {
    /// Sessions of an IAM role.
    AssumeRole {
        /// Which.
        role_arn: String,
        /// The trust policy's word against confused deputies.
        external_id: Option<String>,
        /// How a session can be ended.
        revocation: Revocation,
        /// Whether sessions say whose they are to the end of every chain; the trust policy must allow it.
        source_identity: bool,
    },
    /// IAM users of their own.
    IamUser {
        /// Standing groups that they join.
        groups: Vec<String>,
        /// What they can never exceed.
        permissions_boundary: Option<String>,
    },
    /// Sessions of the broker's own user, with less.
    FederationToken,
    /// Sessions of the broker's own user, with all that it may do.
    SessionToken,
}

/// How a session can be ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Revocation {
    /// Not at all: it ends by AWS's clock.
    #[default]
    None,
    /// By a Deny in an inline policy of its role that the broker edits: whoever may do that can give the role any right.
    Deny,
}

#[derive(Deserialize, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum MethodWord {
    #[default]
    AssumeRole,
    IamUser,
    FederationToken,
    SessionToken,
}

/// The name of the consent to hand out the broker's own rights.
const OWN_RIGHTS: &str = "own_rights";

impl RoleConfig {
    /// Checks a role's settings.
    ///
    /// # Errors
    /// The key that is wrong and why.
    pub(crate) fn read(
        context: &RoleContext,
        settings: Settings,
        target: &TargetConfig,
        base: &Path,
    ) -> Result<Self, SettingError> {
        let mut keys = Keys::new(crate::NAME, settings);
        let word: MethodWord = keys.optional("method")?.unwrap_or_default();
        let most = if word == MethodWord::IamUser { USER_POLICY_MAX } else { SESSION_POLICY_MAX };
        let key = if word == MethodWord::IamUser { "user_policy" } else { "session_policy" };
        let policy = keys.optional::<Source>(key)?.map(|source| source.read(key, base, most)).transpose()?;
        let policy_arns: Vec<String> = keys.optional("policy_arns")?.unwrap_or_default();
        let tags: BTreeMap<String, String> = keys.optional("tags")?.unwrap_or_default();
        let method = method(&mut keys, word)?;
        keys.finish()?;
        let name = context.role.clone();
        let config = Self { name, method, policy, policy_arns, tags, longest: context.max_ttl.as_secs() };
        config.check_lists()?;
        config.check_method(target)?;
        config.check_life(context, target)?;
        Ok(config)
    }

    fn check_lists(&self) -> Result<(), SettingError> {
        let wrong = |key, why: String| Err(SettingError::new(key, why));
        if self.policy_arns.len() > POLICY_ARNS_MAX {
            return wrong("policy_arns", format!("must be at most {POLICY_ARNS_MAX}"));
        }
        if let Some(bad) = self.policy_arns.iter().find(|arn| !Arn::parse(arn).is_some_and(|arn| arn.is_policy())) {
            return wrong("policy_arns", format!("{bad:?} is no ARN of a managed policy"));
        }
        let together: usize = self.policy_arns.iter().map(String::len).sum::<usize>();
        if !matches!(self.method, Method::IamUser { .. })
            && together + self.policy.as_ref().map_or(0, |policy| policy.chars().count()) > SESSION_POLICY_MAX
        {
            let why = format!("are with session_policy over {SESSION_POLICY_MAX} characters, the most that AWS takes");
            return wrong("policy_arns", why);
        }
        if self.tags.len() > TAGS_MAX {
            return wrong("tags", format!("must be at most {TAGS_MAX}"));
        }
        match self.tags.iter().find_map(|(key, value)| bad_tag(key, value)) {
            Some(why) => wrong("tags", why),
            None => Ok(()),
        }
    }

    fn check_method(&self, target: &TargetConfig) -> Result<(), SettingError> {
        let wrong = |key, why: &str| Err(SettingError::new(key, why));
        match &self.method {
            Method::AssumeRole { revocation: Revocation::Deny, .. } | Method::IamUser { .. } if !target.has_login() => {
                wrong("method", "needs a login of the broker's own: say role_arn in the target")
            }
            Method::AssumeRole { external_id: Some(_), .. } if !target.has_login() => {
                wrong("external_id", "is never asked for where an assertion buys the session")
            }
            Method::FederationToken | Method::SessionToken if target.auth != Auth::Environment => {
                wrong("method", "is for users alone, and the broker logs in as a role there: use assume_role")
            }
            Method::FederationToken if self.policy.is_none() && self.policy_arns.is_empty() => {
                wrong("session_policy", "is missing: without one a federated session may do nothing")
            }
            Method::SessionToken if self.policy.is_some() || !self.policy_arns.is_empty() || !self.tags.is_empty() => {
                wrong("method", "takes no policies and no tags: use federation_token")
            }
            _ => Ok(()),
        }
    }

    /// AWS would refuse at the first mint; here it is refused at start.
    fn check_life(&self, context: &RoleContext, target: &TargetConfig) -> Result<(), SettingError> {
        let most = match self.method {
            Method::IamUser { .. } => return Ok(()),
            Method::AssumeRole { .. } if target.auth != Auth::Environment && target.has_login() => CHAINED_MAX,
            Method::AssumeRole { .. } => SESSION_MAX,
            Method::FederationToken | Method::SessionToken => OF_USER_MAX,
        };
        if context.ttl < SESSION_MIN {
            return Err(SettingError::new("ttl", "must be at least 15m: AWS has no shorter sessions"));
        }
        if context.max_ttl > most {
            let key = if context.ttl > most { "ttl" } else { "max_ttl" };
            let why = match most {
                CHAINED_MAX => "must be at most 1h: the broker's own login is a session of a role, and what is bought with one (role chaining) lives an hour at most".to_owned(),
                other => format!("must be at most {}h", other.as_secs() / 3600),
            };
            return Err(SettingError::new(key, why));
        }
        Ok(())
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

/// The keys that only this method has; those of others are refused as unknown.
fn method(keys: &mut Keys, word: MethodWord) -> Result<Method, SettingError> {
    match word {
        MethodWord::AssumeRole => {
            let role_arn: String = keys
                .required("role_arn", "whose sessions it gives, such as \"arn:aws:iam::123456789012:role/invoices\"")?;
            check_role(&role_arn).map_err(|why| SettingError::new("role_arn", why))?;
            let external_id: Option<String> = keys.optional("external_id")?;
            if external_id.as_ref().is_some_and(|id| !is_external_id(id)) {
                return Err(SettingError::new("external_id", "must be 2 to 1224 letters, digits and +=,.@:/_-"));
            }
            let revocation = keys.optional("revocation")?.unwrap_or_default();
            let source_identity = keys.optional("source_identity")?.unwrap_or(true);
            Ok(Method::AssumeRole { role_arn, external_id, revocation, source_identity })
        }
        MethodWord::IamUser => {
            let groups: Vec<String> = keys.optional("groups")?.unwrap_or_default();
            if groups.len() > POLICY_ARNS_MAX || !groups.iter().all(|name| is_name(name, 128)) {
                return Err(SettingError::new("groups", "must be at most 10 names of IAM groups"));
            }
            let permissions_boundary: Option<String> = keys.optional("permissions_boundary")?;
            let good = |arn: &String| Arn::parse(arn).is_some_and(|arn| arn.is_policy());
            if permissions_boundary.as_ref().is_some_and(|arn| !good(arn)) {
                return Err(SettingError::new("permissions_boundary", "is no ARN of a managed policy"));
            }
            Ok(Method::IamUser { groups, permissions_boundary })
        }
        MethodWord::FederationToken => Ok(Method::FederationToken),
        MethodWord::SessionToken => {
            let allowed: Vec<String> = keys.optional("allow_dangerous")?.unwrap_or_default();
            if allowed != [OWN_RIGHTS] {
                let why = "must be [\"own_rights\"]: such a session may do all that the broker's own user may";
                return Err(SettingError::new("allow_dangerous", why));
            }
            Ok(Method::SessionToken)
        }
    }
}

fn is_name(text: &str, most: usize) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"+=,.@_-".contains(&b);
    (1..=most).contains(&text.len()) && text.bytes().all(good)
}

fn is_external_id(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"+=,.@:/_-".contains(&b);
    (2..=1224).contains(&text.len()) && text.bytes().all(good)
}

/// STS: `tagKeyType`, `tagValueType`.
fn bad_tag(key: &str, value: &str) -> Option<String> {
    let good = |c: char| c.is_alphanumeric() || " _.:/=+-@".contains(c);
    if key.is_empty() || key.chars().count() > 128 || !key.chars().all(good) {
        return Some(format!("{key:?} is no key of a tag: 1 to 128 letters, digits, spaces and _.:/=+-@"));
    }
    let lower = key.to_ascii_lowercase();
    if lower.starts_with("aws:") || lower.starts_with("leasehold:") {
        return Some(format!("{key:?} is not a role's to say"));
    }
    if value.chars().count() > 256 || !value.chars().all(good) {
        return Some(format!("the value of {key:?} must be at most 256 letters, digits, spaces and _.:/=+-@"));
    }
    None
}

#[cfg(test)]
mod tests;
