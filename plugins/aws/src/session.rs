//! Sessions: made by STS, ended by its clock, and before that by what the policies of their role say.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_sts::types::{Credentials, PolicyDescriptorType, Tag};
use leasehold_sdk::{
    AccountName, AwsCredential, CloudAssertion, Credential, Ending, EngineError, MintOrder, Minted, Place, Reason,
    RevokeOrder, Standing, Timestamp, clock,
};
use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use serde_json::{Map, Value, json};

use crate::answer::{Does, code, error};
use crate::arn::Arn;
use crate::clients::with_assertion;
use crate::deny::{Denials, KnownBy};
use crate::engine::AwsEngine;
use crate::plan::{self, Body, SLACK};
use crate::role::{Method, Revocation, SESSION_MIN};

/// The tag that says whose a session is.
pub(crate) const IDENTITY_TAG: &str = "leasehold:identity";

/// The name of sessions that nobody gets.
const TRIAL: &str = "leasehold-check";

/// How long a session of the least length may be longer than what is left of its lease: the mint's own time.
const ROUNDING_MAX: Duration = Duration::from_secs(10);

/// How often the Deny of sessions that have to end is looked at: another broker's write may have crossed ours.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

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
        about: body.role.clone(),
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

/// Ends the sessions of one room, or of none: those of one IAM role whose policies we may edit, or those that nobody can end.
pub(crate) async fn revoke(engine: &AwsEngine, orders: &[(&RevokeOrder, Body)]) -> Vec<Result<Ending, EngineError>> {
    let now = clock::wall();
    let Some((_, Body { make, .. })) = orders.first() else { return Vec::new() };
    let Method::AssumeRole { role_arn, revocation: Revocation::Deny, source_identity, .. } = &make.method else {
        return orders.iter().map(|(order, _)| Ok(runs_out(order, now, "AWS cannot revoke such a session"))).collect();
    };
    let known_by = if *source_identity { KnownBy::SourceIdentity } else { KnownBy::SessionName };
    let (denials, endings) = settle(orders, role_arn, now);
    let policy = policy_name(&orders[0].0.plan.account, known_by);
    let written = write(engine, role_arn, &policy, denials.document(known_by)).await;
    orders.iter().zip(endings).map(|((order, _), ending)| as_written(order, ending, &written)).collect()
}

/// What a failed write makes of an ending.
fn as_written(order: &RevokeOrder, ending: Ending, written: &Result<(), EngineError>) -> Result<Ending, EngineError> {
    let Err(e) = written else { return Ok(ending) };
    match (&ending, e) {
        (Ending::Told { placed: true, .. }, _) => Err(e.clone()),
        // Its entry is worth another try, but not a lease that stays for ever where the right to write was taken from us.
        (Ending::Expired, EngineError::Retry { .. } | EngineError::Unknown { .. }) if own_place(order).is_some() => {
            Err(e.clone())
        }
        // An end by AWS's clock is one, whatever became of the policy.
        _ => Ok(ending),
    }
}

/// The place that it has in its room.
fn own_place(order: &RevokeOrder) -> Option<&Standing> {
    order.room.standing.iter().find(|standing| standing.account == order.plan.account)
}

/// What the policy is to say, and what that makes of each.
fn settle(orders: &[(&RevokeOrder, Body)], role_arn: &str, now: Timestamp) -> (Denials, Vec<Ending>) {
    let mut denials = Denials::default();
    // The batch's own come after those that have a place: nobody who is told to be denied may lose it.
    for standing in orders.iter().flat_map(|(order, _)| &order.room.standing).filter(|s| !is_over(s.until, now)) {
        denials.add(&standing.account, standing.until, standing.cut);
    }
    let end = |(order, _): &(&RevokeOrder, Body)| {
        let until = ends(order);
        let (own, account) = (own_place(order), &order.plan.account);
        // What was cut needs no place of its own later.
        let (stands, cut) = (own.is_some(), order.room.cut.or(own.and_then(|own| own.cut)));
        if is_over(until, now) {
            return Ending::Expired;
        }
        match order.room.place {
            Place::NotAsked if !stands => runs_out(order, now, "its time is up"),
            Place::ShareUsed(most) if !stands && cut.is_none() => runs_out(
                order,
                now,
                &format!(
                    "it is not denied: {most} of your sessions are already (aws_deny_entries_per_identity), and the policy's space is finite"
                ),
            ),
            _ if denials.add(account, until, cut) => denied(role_arn, until, now),
            _ => runs_out(
                order,
                now,
                "it is not denied: there is no space left in the role's policy; an operator may cut all its sessions",
            ),
        }
    };
    let endings = orders.iter().map(end).collect();
    (denials, endings)
}

fn denied(role: &str, until: Timestamp, now: Timestamp) -> Ending {
    Ending::Told {
        notice: Reason::new(format!(
            "all that it asks of AWS is denied by a policy of {role}, which AWS applies within minutes; the session itself ends by AWS's clock at {until}"
        )),
        placed: true,
        look_again: until.plus(SLACK).min(now.plus(LOOK_AGAIN)),
    }
}

fn runs_out(order: &RevokeOrder, now: Timestamp, why: &str) -> Ending {
    let until = ends(order);
    if is_over(until, now) {
        return Ending::Expired;
    }
    let notice = Reason::new(format!("{why}; the session works until it ends by AWS's clock at {until}"));
    Ending::Told { notice, placed: false, look_again: until.plus(Duration::from_secs(1)) }
}

/// When a session ends: by AWS's word, or, where its answer was never heard, by what was asked for.
fn ends(order: &RevokeOrder) -> Timestamp {
    order
        .receipt
        .as_ref()
        .and_then(plan::ends_of)
        .unwrap_or_else(|| order.expires_at.max(order.mint_deadline).plus(SLACK))
}

fn is_over(until: Timestamp, now: Timestamp) -> bool {
    until <= now
}

/// Writes the Deny of a role, or takes it away when there is none.
async fn write(engine: &AwsEngine, role_arn: &str, name: &str, document: Option<String>) -> Result<(), EngineError> {
    let role = Arn::parse(role_arn).and_then(|arn| arn.role_name());
    let role = role.ok_or_else(|| EngineError::refused(format!("{role_arn:?} is no role")))?;
    // One at a time for each target: two documents that cross would undo each other.
    let _one = engine.writing.lock().await;
    let there = there(engine, role, name).await?;
    if there == document {
        return Ok(());
    }
    match document {
        Some(document) => {
            let put = engine.clients.iam.put_role_policy().role_name(role).policy_name(name).policy_document(document);
            put.send().await.map(drop).map_err(|e| error("PutRolePolicy", Does::Nothing, &e))
        }
        None => match engine.clients.iam.delete_role_policy().role_name(role).policy_name(name).send().await {
            Ok(_) => Ok(()),
            Err(e) if code(&e) == Some("NoSuchEntity") => Ok(()),
            Err(e) => Err(error("DeleteRolePolicy", Does::Nothing, &e)),
        },
    }
}

/// What the policy says now, to spare a write: nothing is ever concluded from it. IAM tells documents with per-cent signs (RFC 3986).
async fn there(engine: &AwsEngine, role: &str, name: &str) -> Result<Option<String>, EngineError> {
    match engine.clients.iam.get_role_policy().role_name(role).policy_name(name).send().await {
        Ok(answer) => Ok(Some(percent_decode_str(&answer.policy_document).decode_utf8_lossy().into_owned())),
        Err(e) if code(&e) == Some("NoSuchEntity") => Ok(None),
        Err(e) => Err(error("GetRolePolicy", Does::Nothing, &e)),
    }
}

/// One policy for each store that works on a role (law 10), and each way in which its sessions are known: `lh_<cluster>_<tag>`.
fn policy_name(account: &AccountName, known_by: KnownBy) -> String {
    let by = if known_by == KnownBy::SessionName { "_by_name" } else { "" };
    format!("lh_{}_{}{by}", account.cluster(), account.tag())
}
