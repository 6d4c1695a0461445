//! IAM users: for what sessions cannot do, such as living longer than half a day. Made, keyed, and really ended.
//!
//! IAM knows no request that is void after a moment: what we sent may be carried out late. A signature is good for five minutes, and
//! only after that is "not there" a proof (law 3).

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_iam::types::Tag;
use leasehold_sdk::{
    AccountName, AwsCredential, Credential, Ending, EngineError, Listed, Listing, Mark, MintOrder, Minted, Plan,
    Reason, Receipt, RenewOrder, RevokeOrder, Timestamp, clock, failpoint,
};
use secrecy::SecretString;
use serde_json::json;

use crate::answer::{Does, code, error};
use crate::clients;
use crate::engine::AwsEngine;
use crate::plan::{self, Body};
use crate::role::Method;
use crate::session::IDENTITY_TAG;

/// The inline policies of a user of ours.
const OWN_POLICY: &str = "leasehold-role";
const END_POLICY: &str = "leasehold-end";

/// A request of ours may be carried out so long after it was sent: signatures are good for five minutes (Signature Version 4).
const LATE_MAX: Duration = Duration::from_secs(330);
/// The same for an emulator, which is on this machine.
const LATE_EMULATED_MAX: Duration = Duration::from_secs(2);

/// IAM tells of a new user everywhere only after seconds: before, "not there" proves nothing even of one that was there.
const KNOWN_EVERYWHERE: Duration = Duration::from_secs(60);

/// Users of one answer, the most that IAM tells; and answers of one list: an account has at most 5,000 users unless AWS was asked for more.
const USERS_PER_PAGE: i32 = 1000;
const PAGES_MAX: usize = 50;

/// A new key is good only after seconds; it is handed out when it is, or when there is no more time.
const KEY_PATIENCE: Duration = Duration::from_secs(5);
const KEY_PAUSE: Duration = Duration::from_millis(500);

/// The path under which a cluster's users are, so that they can be listed and rights to make them can be bounded.
pub(crate) fn path(cluster: &str) -> String {
    format!("/leasehold/{cluster}/")
}

/// Makes one: the user with all its rights, then its key, so that no key is ever good without its end.
///
/// # Errors
/// As the calls; [`EngineError::Unknown`] from the moment at which something may be there.
pub(crate) async fn mint(engine: &AwsEngine, order: &MintOrder, body: &Body) -> Result<Minted, EngineError> {
    if clock::wall() > order.deadline {
        return Err(EngineError::refused("the time in which it had to be made is over"));
    }
    let name = order.plan.account.to_string();
    let user_id = create(engine, &name, body).await?;
    failpoint::hit("aws.user_made");
    // From here on a user is there, and every error says so.
    let made = equip(engine, &name, order.expires_at, body).await;
    let key = made.map_err(|e| EngineError::unknown(format!("the user is there, and is ended: {e}")))?;
    failpoint::hit("aws.key_made");
    wait_until_good(engine, &key, order.deadline).await;
    Ok(Minted { credential: Credential::Aws(key), receipt: plan::user_receipt(&user_id) })
}

async fn create(engine: &AwsEngine, name: &str, body: &Body) -> Result<String, EngineError> {
    let Method::IamUser { permissions_boundary, .. } = &body.make.method else {
        return Err(EngineError::refused("the plan is of a session, not of a user"));
    };
    let own = body.make.tags.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let tag = |(key, value)| Tag::builder().key(key).value(value).build();
    let tags: Result<Vec<Tag>, _> = own.chain([(IDENTITY_TAG, body.identity.as_str())]).map(tag).collect();
    let call = engine
        .clients
        .iam
        .create_user()
        .path(path(engine.cluster.as_str()))
        .user_name(name)
        .set_permissions_boundary(permissions_boundary.clone())
        .set_tags(Some(tags.map_err(|e| EngineError::refused(e.to_string()))?));
    match call.send().await {
        Ok(answer) => {
            answer.user.map(|user| user.user_id).ok_or_else(|| EngineError::unknown("CreateUser told no user"))
        }
        // No other has this name: it was made by a request of ours that was given up.
        Err(e) if code(&e) == Some("EntityAlreadyExists") => Err(EngineError::unknown("the user is there already")),
        Err(e) => Err(error("CreateUser", Does::Makes, &e)),
    }
}

async fn equip(engine: &AwsEngine, name: &str, ends: Timestamp, body: &Body) -> Result<AwsCredential, EngineError> {
    let iam = &engine.clients.iam;
    put_end(engine, name, ends).await?;
    if let Some(policy) = &body.make.policy {
        let put = iam.put_user_policy().user_name(name).policy_name(OWN_POLICY).policy_document(policy);
        put.send().await.map_err(|e| error("PutUserPolicy", Does::Nothing, &e))?;
    }
    for arn in &body.make.policy_arns {
        let attach = iam.attach_user_policy().user_name(name).policy_arn(arn);
        attach.send().await.map_err(|e| error("AttachUserPolicy", Does::Nothing, &e))?;
    }
    if let Method::IamUser { groups, .. } = &body.make.method {
        for group in groups {
            let add = iam.add_user_to_group().user_name(name).group_name(group);
            add.send().await.map_err(|e| error("AddUserToGroup", Does::Nothing, &e))?;
        }
    }
    let answer = iam.create_access_key().user_name(name).send().await;
    let key = answer.map_err(|e| error("CreateAccessKey", Does::Makes, &e))?.access_key;
    let key = key.ok_or_else(|| EngineError::unknown("CreateAccessKey told no key"))?;
    Ok(AwsCredential {
        access_key_id: key.access_key_id,
        secret_access_key: SecretString::from(key.secret_access_key),
        session_token: None,
        region: engine.config.region.clone(),
    })
}

/// The second line (law 9): after its time AWS itself denies all that it asks, and it cannot take that away.
async fn put_end(engine: &AwsEngine, name: &str, ends: Timestamp) -> Result<(), EngineError> {
    let put =
        engine.clients.iam.put_user_policy().user_name(name).policy_name(END_POLICY).policy_document(end_policy(ends));
    put.send().await.map(drop).map_err(|e| error("PutUserPolicy", Does::Nothing, &e))
}

fn end_policy(ends: Timestamp) -> String {
    let whole = Timestamp::from_unix_ms(ends.unix_ms().div_euclid(1000) * 1000).to_string().replace(".000Z", "Z");
    let over = json!({
        "Sid": "LeaseholdOver", "Effect": "Deny", "Action": "*", "Resource": "*",
        "Condition": { "DateGreaterThan": { "aws:CurrentTime": whole } },
    });
    // It must neither take the first statement away nor give itself or its neighbours anything that keeps them: keys, certificates, a
    // boundary, another name.
    let kept = json!({
        "Sid": "LeaseholdKept", "Effect": "Deny", "Resource": "arn:*:iam::*:user/leasehold/*",
        "NotAction": ["iam:Get*", "iam:List*"],
    });
    json!({ "Version": "2012-10-17", "Statement": [over, kept] }).to_string()
}

/// Moves the second line.
///
/// # Errors
/// As the call.
pub(crate) async fn renew(engine: &AwsEngine, order: &RenewOrder) -> Result<(), EngineError> {
    put_end(engine, &order.plan.account.to_string(), order.expires_at).await
}

async fn wait_until_good(engine: &AwsEngine, key: &AwsCredential, deadline: Timestamp) {
    let given_up = clock::boot() + KEY_PATIENCE;
    let sts = clients::sts_as(&engine.config, key);
    while sts.get_caller_identity().send().await.is_err() {
        if clock::boot() >= given_up || clock::wall().plus(KEY_PATIENCE) > deadline {
            return;
        }
        tokio::time::sleep(KEY_PAUSE).await;
    }
}

/// Ends one: all that it could be used by first, then the user.
///
/// # Errors
/// As the calls; [`EngineError::Retry`] while a late request could still make it.
pub(crate) async fn revoke(engine: &AwsEngine, order: &RevokeOrder) -> Result<Ending, EngineError> {
    let name = order.plan.account.to_string();
    let Some(user_id) = find(engine, &name).await? else {
        return gone(engine, order);
    };
    if let Some(known) = order.receipt.as_ref().and_then(plan::user_of).filter(|known| *known != user_id) {
        return Err(EngineError::refused(format!(
            "the user {name} there has the id {user_id}, and ours had {known}: somebody else made it, and it is left alone"
        )));
    }
    take_keys(engine, &name).await?;
    failpoint::hit("revoke.fenced");
    strip(engine, &name).await?;
    match engine.clients.iam.delete_user().user_name(&name).send().await {
        Ok(_) => {}
        Err(e) if code(&e) == Some("NoSuchEntity") => {}
        Err(e) => return Err(error("DeleteUser", Does::Nothing, &e)),
    }
    failpoint::hit("revoke.dropped");
    // It was there, and its one CreateUser with it: nothing is left that could make it.
    Ok(Ending::Dead)
}

async fn find(engine: &AwsEngine, name: &str) -> Result<Option<String>, EngineError> {
    match engine.clients.iam.get_user().user_name(name).send().await {
        Ok(answer) => Ok(answer.user.map(|user| user.user_id)),
        Err(e) if code(&e) == Some("NoSuchEntity") => Ok(None),
        Err(e) => Err(error("GetUser", Does::Nothing, &e)),
    }
}

/// Not there: gone, or not yet.
fn gone(engine: &AwsEngine, order: &RevokeOrder) -> Result<Ending, EngineError> {
    let emulated = engine.config.endpoint.is_some();
    let proved = match (&order.receipt, emulated) {
        (Some(_), true) => return Ok(Ending::Dead),
        // It was there once; a moment after it was made IAM may not know it everywhere.
        (Some(_), false) => order.mint_deadline.plus(KNOWN_EVERYWHERE),
        (None, true) => order.mint_deadline.plus(LATE_EMULATED_MAX),
        (None, false) => order.mint_deadline.plus(LATE_MAX),
    };
    let now = clock::wall();
    if now > proved {
        return Ok(Ending::Dead);
    }
    Err(EngineError::Retry {
        why: Reason::new("the user is not there, and a request that is on its way could still make it"),
        after: Some(proved.since(now).min(KNOWN_EVERYWHERE)),
    })
}

/// Its keys, those too that it made itself.
async fn take_keys(engine: &AwsEngine, name: &str) -> Result<(), EngineError> {
    let iam = &engine.clients.iam;
    let keys = iam.list_access_keys().user_name(name).send().await;
    for key in keys.map_err(|e| error("ListAccessKeys", Does::Nothing, &e))?.access_key_metadata {
        let id = key.access_key_id.unwrap_or_default();
        let gone = iam.delete_access_key().user_name(name).access_key_id(id).send().await;
        ended("DeleteAccessKey", gone)?;
    }
    ended("DeleteLoginProfile", iam.delete_login_profile().user_name(name).send().await)
}

/// All that keeps a user from being deleted.
async fn strip(engine: &AwsEngine, name: &str) -> Result<(), EngineError> {
    let iam = &engine.clients.iam;
    let attached = iam.list_attached_user_policies().user_name(name).send().await;
    let attached = attached.map_err(|e| error("ListAttachedUserPolicies", Does::Nothing, &e))?.attached_policies;
    for policy in attached.unwrap_or_default() {
        let arn = policy.policy_arn.unwrap_or_default();
        ended("DetachUserPolicy", iam.detach_user_policy().user_name(name).policy_arn(arn).send().await)?;
    }
    let groups = iam.list_groups_for_user().user_name(name).send().await;
    for group in groups.map_err(|e| error("ListGroupsForUser", Does::Nothing, &e))?.groups {
        let gone = iam.remove_user_from_group().user_name(name).group_name(group.group_name).send().await;
        ended("RemoveUserFromGroup", gone)?;
    }
    let inline = iam.list_user_policies().user_name(name).send().await;
    for policy in inline.map_err(|e| error("ListUserPolicies", Does::Nothing, &e))?.policy_names {
        ended("DeleteUserPolicy", iam.delete_user_policy().user_name(name).policy_name(policy).send().await)?;
    }
    Ok(())
}

/// What is gone already is gone.
fn ended<T, E>(call: &str, answer: Result<T, aws_sdk_iam::error::SdkError<E>>) -> Result<(), EngineError>
where
    E: aws_sdk_iam::error::ProvideErrorMetadata + std::error::Error + 'static,
{
    match answer {
        Ok(_) => Ok(()),
        Err(e) if code(&e) == Some("NoSuchEntity") => Ok(()),
        Err(e) => Err(error(call, Does::Nothing, &e)),
    }
}

/// Our users there, in the order of their names. IAM's own pages go on by markers that say nothing of an order: all are read each time, and
/// an account has at most some thousands.
///
/// # Errors
/// As the calls.
pub(crate) async fn list(
    engine: &AwsEngine,
    mark: &Mark,
    after: Option<&str>,
    limit: usize,
) -> Result<Listing, EngineError> {
    let mut listed: BTreeMap<String, Listed> = BTreeMap::new();
    let mut marker = None;
    for _ in 0..PAGES_MAX {
        let call = engine.clients.iam.list_users().path_prefix(path(mark.cluster.as_str()));
        let answer = call.set_marker(marker).max_items(USERS_PER_PAGE).send().await;
        let answer = answer.map_err(|e| error("ListUsers", Does::Nothing, &e))?;
        let ours = answer.users.into_iter().filter_map(|user| ours(mark, user));
        listed.extend(ours.map(|one| (one.account.to_string(), one)));
        marker = answer.marker.filter(|_| answer.is_truncated);
        if marker.is_none() {
            let rest = listed.into_iter().filter(|(name, _)| after.is_none_or(|after| name.as_str() > after));
            let mut accounts: Vec<Listed> = rest.map(|(_, one)| one).take(limit.saturating_add(1)).collect();
            let more = accounts.len() > limit;
            accounts.truncate(limit);
            let next = accounts.last().filter(|_| more).map(|last| last.account.to_string());
            return Ok(Listing::Page { accounts, next });
        }
    }
    Err(EngineError::refused("IAM lists more users than an account can have"))
}

fn ours(mark: &Mark, user: aws_sdk_iam::types::User) -> Option<Listed> {
    let account = user.user_name.parse().ok().filter(|account: &AccountName| *account.cluster() == mark.cluster)?;
    let receipt: Receipt = plan::user_receipt(&user.user_id);
    Some(Listed { account, id: Some(user.user_id), expires_at: None, receipt: Some(receipt) })
}

/// Whether a user of this plan would be listed by now: IAM tells of one everywhere only after a while.
pub(crate) fn is_listed(engine: &AwsEngine, plan: &Plan) -> bool {
    let known = if engine.config.endpoint.is_some() { LATE_EMULATED_MAX } else { KNOWN_EVERYWHERE };
    clock::wall().since(plan.account.lease().made_at()) > known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_line_fits_beside_a_roles_own_policy() {
        let policy = end_policy("2026-01-02T03:04:05.678Z".parse().unwrap());
        assert!(policy.contains(r#""aws:CurrentTime":"2026-01-02T03:04:05Z""#), "never later than the lease: {policy}");
        // All inline policies of a user are 2,048 characters together, and a role's own may have 1,200.
        assert!(policy.len() < 2048 - 1200, "{}", policy.len());
    }
}
