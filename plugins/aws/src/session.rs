//! Sessions, made by STS; how they end is in [`crate::ending`].

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_sts::types::{Credentials, PolicyDescriptorType, Tag};
use leasehold_sdk::{AwsCredential, CloudAssertion, Credential, EngineError, MintOrder, Minted, Timestamp, clock};
use secrecy::SecretString;
use serde_json::{Map, Value, json};

use crate::answer::{Does, error};
use crate::clients::with_assertion;
use crate::engine::AwsEngine;
use crate::plan::{self, Body};
use crate::role::{Method, SESSION_MIN};

/// The tag that says whose a session is.
pub(crate) const IDENTITY_TAG: &str = "leasehold:identity";

/// The name of sessions that nobody gets.
const TRIAL: &str = "leasehold-check";

/// How long a session of the least length may be longer than what is left of its lease: the mint's own time.
const ROUNDING_MAX: Duration = Duration::from_secs(10);

/// Makes one.
///
/// # Errors
/// As any call to AWS; nothing that is made outlives a lost answer.
pub(crate) async fn mint(engine: &AwsEngine, order: &MintOrder, body: &Body) -> Result<Minted, EngineError> {
    let seconds = seconds_left(order, clock::wall())?;
    let lease = order.plan.account.lease().to_string();
    let given = match &body.make.method {
        Method::AssumeRole { .. } if !engine.config.has_login() => by_assertion(engine, body, &lease, seconds).await?.0,
        Method::AssumeRole { .. } => by_role(engine, body, &lease, seconds).await?.0,
        Method::FederationToken => federated(engine, body, &lease, seconds).await?,
        Method::SessionToken => of_own_user(engine, seconds).await?,
        Method::IamUser { .. } => return Err(EngineError::refused("the plan is of a user, not of a session")),
    };
    let ends = Timestamp::from_unix_ms(given.expiration.to_millis().unwrap_or(i64::MAX));
    let credential = AwsCredential {
        access_key_id: given.access_key_id,
        secret_access_key: SecretString::from(given.secret_access_key),
        session_token: Some(SecretString::from(given.session_token)),
        region: engine.config.region.clone(),
    };
    Ok(Minted { credential: Credential::Aws(credential), receipt: plan::session_receipt(ends) })
}

/// How long the session is to live: never longer than its lease, but for the seconds that AWS does not count so finely.
fn seconds_left(order: &MintOrder, now: Timestamp) -> Result<i32, EngineError> {
    if now > order.deadline {
        return Err(EngineError::refused("the time in which it had to be made is over"));
    }
    let left = order.expires_at.since(now);
    if left + ROUNDING_MAX < SESSION_MIN {
        return Err(EngineError::refused("a session lives at least 15m: AWS has no shorter ones"));
    }
    Ok(i32::try_from(left.max(SESSION_MIN).as_secs()).unwrap_or(i32::MAX))
}

/// AssumeRole, by the broker's own login; with how much of the packed policy's room is used, in per cent.
async fn by_role(
    engine: &AwsEngine,
    body: &Body,
    name: &str,
    seconds: i32,
) -> Result<(Credentials, Option<i32>), EngineError> {
    let Method::AssumeRole { role_arn, external_id, source_identity, .. } = &body.make.method else {
        return Err(EngineError::refused("the plan is not of a role's session"));
    };
    let call = engine
        .clients
        .sts
        .assume_role()
        .role_arn(role_arn)
        .role_session_name(name)
        .duration_seconds(seconds)
        .set_source_identity(source_identity.then(|| name.to_owned()))
        .set_external_id(external_id.clone())
        .set_policy(body.make.policy.clone())
        .set_policy_arns(arns(body))
        .set_tags(Some(tags(body)?))
        // Whoever goes on from this session to another is still known by whose it is.
        .transitive_tag_keys(IDENTITY_TAG);
    let answer = call.send().await.map_err(|e| error("AssumeRole", Does::Nothing, &e))?;
    Ok((given(answer.credentials)?, answer.packed_policy_size))
}

/// AssumeRoleWithWebIdentity: what AssumeRole is told beside is told by the assertion (AWS: "Pass session tags in STS").
async fn by_assertion(
    engine: &AwsEngine,
    body: &Body,
    name: &str,
    seconds: i32,
) -> Result<(Credentials, Option<i32>), EngineError> {
    let Method::AssumeRole { role_arn, source_identity, .. } = &body.make.method else {
        return Err(EngineError::refused("the plan is not of a role's session"));
    };
    let assertion = CloudAssertion {
        audience: engine.config.audience.clone(),
        about: body.make.name.clone(),
        claims: claims(body, source_identity.then_some(name)),
    };
    let assertion = engine.host.assert(assertion).await?;
    let call = with_assertion(&engine.clients.open_sts, &assertion)
        .role_arn(role_arn)
        .role_session_name(name)
        .duration_seconds(seconds)
        .set_policy(body.make.policy.clone())
        .set_policy_arns(arns(body));
    let answer = call.send().await.map_err(|e| error("AssumeRoleWithWebIdentity", Does::Nothing, &e))?;
    Ok((given(answer.credentials)?, answer.packed_policy_size))
}

/// What was learned from a session that nobody gets.
pub(crate) struct Trial {
    /// How much of the packed policy's room is used, in per cent.
    pub(crate) packed: Option<i32>,
}

/// Asks for the longest session that the role gives, and forgets it.
///
/// # Errors
/// As any call to AWS.
pub(crate) async fn trial(engine: &AwsEngine, body: &Body) -> Result<Trial, EngineError> {
    let seconds = i32::try_from(body.make.longest).unwrap_or(i32::MAX);
    let (_, packed) = match engine.config.has_login() {
        true => by_role(engine, body, TRIAL, seconds).await?,
        false => by_assertion(engine, body, TRIAL, seconds).await?,
    };
    Ok(Trial { packed })
}

fn claims(body: &Body, source_identity: Option<&str>) -> Map<String, Value> {
    let tags: BTreeMap<&str, [&str; 1]> = all_tags(body).map(|(key, value)| (key, [value])).collect();
    let tags = json!({ "principal_tags": tags, "transitive_tag_keys": [IDENTITY_TAG] });
    let mut claims = Map::from_iter([("https://aws.amazon.com/tags".to_owned(), tags)]);
    if let Some(name) = source_identity {
        claims.insert("https://aws.amazon.com/source_identity".to_owned(), Value::String(name.to_owned()));
    }
    claims
}

/// GetFederationToken: only a user may ask.
async fn federated(engine: &AwsEngine, body: &Body, name: &str, seconds: i32) -> Result<Credentials, EngineError> {
    let call = engine
        .clients
        .sts
        .get_federation_token()
        .name(name)
        .duration_seconds(seconds)
        .set_policy(body.make.policy.clone())
        .set_policy_arns(arns(body))
        .set_tags(Some(tags(body)?));
    let answer = call.send().await.map_err(|e| error("GetFederationToken", Does::Nothing, &e))?;
    given(answer.credentials)
}

/// GetSessionToken: only a user may ask.
async fn of_own_user(engine: &AwsEngine, seconds: i32) -> Result<Credentials, EngineError> {
    let call = engine.clients.sts.get_session_token().duration_seconds(seconds);
    let answer = call.send().await.map_err(|e| error("GetSessionToken", Does::Nothing, &e))?;
    given(answer.credentials)
}

fn given(credentials: Option<Credentials>) -> Result<Credentials, EngineError> {
    credentials.ok_or_else(|| EngineError::retry("AWS answered without credentials"))
}

fn arns(body: &Body) -> Option<Vec<PolicyDescriptorType>> {
    let arn = |arn: &String| PolicyDescriptorType::builder().arn(arn).build();
    Some(body.make.policy_arns.iter().map(arn).collect::<Vec<_>>()).filter(|arns| !arns.is_empty())
}

fn all_tags(body: &Body) -> impl Iterator<Item = (&str, &str)> {
    let own = body.make.tags.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    own.chain([(IDENTITY_TAG, body.identity.as_str())])
}

fn tags(body: &Body) -> Result<Vec<Tag>, EngineError> {
    let tag = |(key, value)| Tag::builder().key(key).value(value).build();
    all_tags(body).map(tag).collect::<Result<_, _>>().map_err(|e| EngineError::refused(e.to_string()))
}
