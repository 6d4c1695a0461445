//! How sessions end: by AWS's clock, and before that by what the policies of their role say.

use std::time::Duration;

use leasehold_sdk::{AccountName, Ending, EngineError, Place, Reason, RevokeOrder, Standing, Timestamp, clock};
use percent_encoding::percent_decode_str;

use crate::answer::{Does, code, error};
use crate::arn::Arn;
use crate::deny::{Denials, KnownBy};
use crate::engine::AwsEngine;
use crate::plan::{self, Body, SLACK};
use crate::role::{Method, Revocation};

/// How often the Deny of sessions that have to end is looked at: another broker's write may have crossed ours.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

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
