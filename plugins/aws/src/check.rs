//! What an operator is told of an account: whether we get in, whether AWS would give what the roles promise, and what it lacks.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_iam::types::PolicyEvaluationDecisionType::Allowed;
use leasehold_sdk::{CloudAssertion, EngineError, Finding, Fingerprint, Level, Reason, RoleSettings, clock};
use serde_json::Value;

use crate::answer::{Does, error};
use crate::arn::Arn;
use crate::engine::AwsEngine;
use crate::plan::Body;
use crate::role::{CHAINED_MAX, Method, Revocation, RoleConfig};
use crate::session::{self, Trial};
use crate::target::Auth;
use crate::trust::{self, Asker};

/// How long the account's own word is taken for known.
const KNOWN_FOR: Duration = Duration::from_secs(60);

/// The packed policy's room, in per cent, beyond which the next tag may be too much.
const PACKED_WARN: i32 = 80;

/// What was found out and need not be asked again.
#[derive(Default)]
pub(crate) struct Tried(Mutex<Known>);

#[derive(Default)]
struct Known {
    login: Option<(Login, Duration)>,
    /// Settings of roles that AWS gave a session for.
    good: BTreeSet<String>,
}

/// Who the broker is there.
#[derive(Clone)]
struct Login {
    account: String,
    arn: String,
}

impl Tried {
    fn with<R>(&self, f: impl FnOnce(&mut Known) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Which account it is.
///
/// # Errors
/// As the call.
pub(crate) async fn account(engine: &AwsEngine) -> Result<Fingerprint, EngineError> {
    if !engine.config.has_login() {
        // Nobody there knows the broker; each assertion is about one role, and names its account.
        return Ok(Fingerprint("aws:by-assertion".into()));
    }
    login(engine).await.map(|login| Fingerprint(format!("aws:{}", login.account)))
}

async fn login(engine: &AwsEngine) -> Result<Login, EngineError> {
    let now = clock::boot();
    if let Some(login) = engine.tried.with(|known| known.login.clone().filter(|(_, until)| *until > now)) {
        return Ok(login.0);
    }
    let answer = engine.clients.sts.get_caller_identity().send().await;
    let answer = answer.map_err(|e| error("GetCallerIdentity", Does::Nothing, &e))?;
    let (Some(account), Some(arn)) = (answer.account, answer.arn) else {
        return Err(EngineError::retry("GetCallerIdentity tells no account"));
    };
    let login = Login { account, arn };
    engine.tried.with(|known| known.login = Some((login.clone(), now + KNOWN_FOR)));
    Ok(login)
}

/// Whether AWS would give what the role promises: asked once for each role's settings, by a session that nobody gets. Answers the
/// dangerous rights that the role hands out.
///
/// # Errors
/// [`EngineError::Refused`] as AWS said it.
pub(crate) async fn vet(engine: &AwsEngine, settings: &RoleSettings) -> Result<Vec<String>, EngineError> {
    let role = RoleConfig::from_settings(settings).map_err(EngineError::refused)?;
    let dangerous = match role.method {
        Method::SessionToken => vec!["own_rights".to_owned()],
        _ => Vec::new(),
    };
    let key = settings.0.to_string();
    if !matches!(role.method, Method::AssumeRole { .. }) || engine.tried.with(|known| known.good.contains(&key)) {
        return Ok(dangerous);
    }
    match trial(engine, &role).await {
        Ok(packed) => {
            if let Some(packed) = packed.filter(|packed| *packed > PACKED_WARN) {
                tracing::warn!(target_name = %engine.name(), packed, "a role's session policy and tags fill the room that AWS has for them, in per cent");
            }
            engine.tried.with(|known| known.good.insert(key));
            Ok(dangerous)
        }
        Err(refused @ EngineError::Refused { .. }) => Err(refused),
        // An account that does not answer now is told of by whoever asks for a session.
        Err(_) => Ok(dangerous),
    }
}

/// Asks for the longest session of a role, with the longest identity. How much of the packed policy's room that takes, in per cent.
async fn trial(engine: &AwsEngine, role: &RoleConfig) -> Result<Option<i32>, EngineError> {
    if let Some(why) = chained_too_long(engine, role).await? {
        return Err(EngineError::refused(why));
    }
    let body = Body { make: role.clone(), identity: "x".repeat(256) };
    session::trial(engine, &body).await.map(|Trial { packed }| packed)
}

/// A login that is itself a session buys no longer ones (role chaining); AWS says so only at the first mint.
async fn chained_too_long(engine: &AwsEngine, role: &RoleConfig) -> Result<Option<String>, EngineError> {
    if role.longest <= CHAINED_MAX.as_secs() || engine.config.auth != Auth::Environment {
        return Ok(None);
    }
    let login = login(engine).await?;
    let session_of = Arn::parse(&login.arn).and_then(|arn| arn.session_of());
    Ok(session_of.map(|of| {
        format!("the broker logs in as a session of the role {of}, and what is bought with one (role chaining) lives an hour at most: max_ttl must be at most 1h")
    }))
}

/// Everything worth telling.
pub(crate) async fn check(engine: &AwsEngine, roles: &[(String, RoleSettings)]) -> Vec<Finding> {
    let read =
        |(name, settings): &(String, RoleSettings)| Some((name.clone(), RoleConfig::from_settings(settings).ok()?));
    let roles: Vec<(String, RoleConfig)> = roles.iter().filter_map(read).collect();
    let mut findings = issuer(engine);
    if let Some(why) = cannot_assert(engine).await {
        findings.push(found(
            Level::Warning,
            None,
            format!("not tried, but when a broker starts: {why}"),
            own_trust(engine),
        ));
        findings.extend(roles.iter().filter_map(|(name, role)| untried(engine, name, role)));
        return findings;
    }
    let login = match engine.config.has_login() {
        true => match login(engine).await {
            Ok(login) => {
                findings.push(found(Level::Good, None, format!("logs in as {}", login.arn), None));
                Some(login)
            }
            Err(e) => {
                findings.push(found(Level::Error, None, e.to_string(), own_trust(engine)));
                None
            }
        },
        false => None,
    };
    for (name, role) in &roles {
        findings.extend(of_role(engine, login.as_ref(), name, role).await);
    }
    if let Some(login) = &login {
        findings.extend(rights(engine, login, &roles).await);
    }
    findings
}

/// AWS reads an issuer's documents at its URL, which it takes with `https` and without a port alone.
fn issuer(engine: &AwsEngine) -> Vec<Finding> {
    if engine.config.auth != Auth::WebIdentity {
        return Vec::new();
    }
    let Some(issuer) = engine.host.cloud_issuer() else {
        let why = "auth = \"web_identity\" needs an issuer: say issuer in [token]";
        return vec![found(Level::Error, None, why.to_owned(), None)];
    };
    let host = issuer.strip_prefix("https://").map(|rest| rest.split('/').next().unwrap_or_default());
    let wrong = match host {
        None => Some("AWS takes no issuer without https"),
        Some(host) if host.contains(':') => Some("AWS takes no issuer with a port"),
        Some(_) if issuer.len() > 255 => Some("AWS takes no issuer of more than 255 characters"),
        Some(_) => None,
    };
    match wrong {
        Some(why) => vec![found(Level::Error, None, format!("{why}: {issuer}"), None)],
        None => {
            let provider = format!(
                "aws iam create-open-id-connect-provider --url {issuer} --client-id-list {}",
                engine.config.audience
            );
            let what =
                format!("asserts as {issuer}, which AWS must be able to reach and must have as an identity provider");
            vec![found(Level::Good, None, what, Some(provider))]
        }
    }
}

/// Whom the broker's own role must trust.
fn own_trust(engine: &AwsEngine) -> Option<String> {
    let role_arn = engine.config.role_arn.as_deref()?;
    let issuer = engine.host.cloud_issuer().unwrap_or_default();
    let asker = match &engine.config.auth {
        Auth::WebIdentity => assertion(engine, &issuer, engine.name()),
        Auth::RolesAnywhere { trust_anchor_arn, .. } => Asker::Svid { anchor: trust_anchor_arn },
        Auth::Environment => return None,
    };
    Some(format!("{role_arn} must trust:\n{}", pretty(&trust::trust(&asker, role_arn, None))))
}

fn assertion<'a>(engine: &'a AwsEngine, issuer: &'a str, about: &str) -> Asker<'a> {
    let subject = format!("leasehold:{}:{about}", engine.cluster);
    Asker::Assertion { issuer, subject, audience: &engine.config.audience }
}

/// Where no broker runs, nothing is asserted: then nothing can be tried that an assertion opens.
async fn cannot_assert(engine: &AwsEngine) -> Option<Reason> {
    if engine.config.auth != Auth::WebIdentity {
        return None;
    }
    let audience = engine.config.audience.clone();
    let probe = CloudAssertion { audience, about: engine.name().to_owned(), claims: serde_json::Map::new() };
    match engine.host.assert(probe).await {
        Err(EngineError::Refused { why }) => Some(why),
        Ok(_) | Err(_) => None,
    }
}

/// Whom a role must trust, where that cannot be tried.
fn untried(engine: &AwsEngine, name: &str, role: &RoleConfig) -> Option<Finding> {
    let Method::AssumeRole { role_arn, .. } = &role.method else { return None };
    let issuer = engine.host.cloud_issuer().unwrap_or_default();
    let asker = match &engine.config.role_arn {
        Some(own) => Asker::Login(own),
        None => assertion(engine, &issuer, name),
    };
    let trusts = format!("{role_arn} must trust:\n{}", pretty(&trust::trust(&asker, role_arn, Some(role))));
    Some(found(Level::Good, Some(name), format!("gives sessions of {role_arn}, if that trusts who asks"), Some(trusts)))
}

async fn of_role(engine: &AwsEngine, login: Option<&Login>, name: &str, role: &RoleConfig) -> Vec<Finding> {
    let Method::AssumeRole { role_arn, revocation, .. } = &role.method else { return Vec::new() };
    let issuer = engine.host.cloud_issuer().unwrap_or_default();
    let asker = match login {
        Some(login) => Asker::Login(engine.config.role_arn.as_deref().unwrap_or(&login.arn)),
        None if engine.config.has_login() => return Vec::new(),
        None => assertion(engine, &issuer, name),
    };
    let trusts = format!("{role_arn} must trust:\n{}", pretty(&trust::trust(&asker, role_arn, Some(role))));
    let mut findings = vec![match trial(engine, role).await {
        Ok(packed) if packed.is_some_and(|packed| packed > PACKED_WARN) => {
            let what =
                format!("its policies and tags take {} % of the room that AWS packs them into", packed.unwrap_or(0));
            found(Level::Warning, Some(name), what, Some(trusts))
        }
        Ok(packed) => {
            let room =
                packed.map_or_else(String::new, |packed| format!("; policies and tags take {packed} % of their room"));
            found(Level::Good, Some(name), format!("gives sessions of {role_arn}{room}"), Some(trusts))
        }
        Err(e) => found(Level::Error, Some(name), e.to_string(), Some(trusts)),
    }];
    if *revocation == Revocation::Deny {
        let what = format!(
            "revocation = \"deny\" lets the broker edit the policies of {role_arn}: whoever has the broker's login can give that role any right"
        );
        findings.push(found(Level::Warning, Some(name), what, None));
    }
    findings
}

/// What the broker's own login lacks, by AWS's own judgement (SimulatePrincipalPolicy).
async fn rights(engine: &AwsEngine, login: &Login, roles: &[(String, RoleConfig)]) -> Vec<Finding> {
    let needed = trust::rights(&engine.config, engine.cluster.as_str(), &login.account, roles);
    let source = match &engine.config.role_arn {
        Some(role) => role.clone(),
        None => principal(&login.arn),
    };
    let mut lacking = Vec::new();
    for statement in needed["Statement"].as_array().into_iter().flatten() {
        match denied(engine, &source, statement).await {
            Ok(actions) => lacking.extend(actions),
            Err(e) => {
                let what = format!("whether the broker holds the rights that its roles need cannot be asked: {e}");
                return vec![found(Level::Warning, None, what, Some(pretty(&needed)))];
            }
        }
    }
    if lacking.is_empty() {
        return vec![found(Level::Good, None, "holds the rights that its roles need".into(), None)];
    }
    let what = format!("lacks {}", lacking.join(", "));
    vec![found(Level::Error, None, what, Some(format!("{source} needs:\n{}", pretty(&needed))))]
}

async fn denied(engine: &AwsEngine, source: &str, statement: &Value) -> Result<Vec<String>, EngineError> {
    let texts = |value: &Value| match value {
        Value::String(one) => vec![one.clone()],
        other => other.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect(),
    };
    let call = engine
        .clients
        .iam
        .simulate_principal_policy()
        .policy_source_arn(source)
        .set_action_names(Some(texts(&statement["Action"])))
        .set_resource_arns(Some(texts(&statement["Resource"])));
    let answer = call.send().await.map_err(|e| error("SimulatePrincipalPolicy", Does::Nothing, &e))?;
    let results = answer.evaluation_results.unwrap_or_default().into_iter();
    Ok(results.filter(|result| result.eval_decision != Allowed).map(|result| result.eval_action_name).collect())
}

/// The role whose session it is: policies are the role's.
fn principal(arn: &str) -> String {
    let parsed = Arn::parse(arn);
    match parsed.and_then(|parsed| Some((parsed.partition, parsed.account, parsed.session_of()?))) {
        Some((partition, account, role)) => format!("arn:{partition}:iam::{account}:role/{role}"),
        None => arn.to_owned(),
    }
}

fn found(level: Level, role: Option<&str>, what: String, fix: Option<String>) -> Finding {
    Finding { level, role: role.map(str::to_owned), what: Reason::new(what), fix }
}

fn pretty(document: &Value) -> String {
    serde_json::to_string_pretty(document).unwrap_or_default()
}
