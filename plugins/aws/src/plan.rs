//! What will exist, decided before anything does and kept in the lease's row.

use std::time::Duration;

use leasehold_sdk::{
    AccountName, EngineError, Fingerprint, Plan, PlanRequest, Receipt, Revocable, Timestamp, sha256_hex,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::role::{Method, Revocation, RoleConfig};

/// How much later than asked AWS may end a session: seconds that it does not count so finely, a call that took its time, and clocks
/// that differ.
pub(crate) const SLACK: Duration = Duration::from_secs(25);

/// Longest value of a tag, in characters.
const TAG_VALUE_MAX: usize = 256;

/// The engine's own part of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Body {
    /// What to make.
    pub(crate) make: RoleConfig,
    /// Whose it is, as a tag says it.
    pub(crate) identity: String,
}

/// Decides what one request gets.
///
/// # Errors
/// [`EngineError::Refused`] when the role's settings are not ours.
pub(crate) fn plan(request: &PlanRequest<'_>) -> Result<Plan, EngineError> {
    let make = RoleConfig::from_settings(request.settings).map_err(EngineError::refused)?;
    let session = !matches!(make.method, Method::IamUser { .. });
    let room = room(&make.method);
    let revocable = if session && room.is_none() { Revocable::None } else { Revocable::Eventual };
    let body = Body { make, identity: tag_of(&request.caller.spiffe_id) };
    Ok(Plan {
        account: request.account.clone(),
        fingerprint: request.fingerprint.clone(),
        revocable,
        expires_in_target: true,
        renewable: !session,
        ends_by: None,
        slack: if session { SLACK } else { Duration::ZERO },
        room,
        params: request.caller.params.clone(),
        body: serde_json::to_value(body).map_err(|e| EngineError::refused(e.to_string()))?,
    })
}

/// The plan by which a user of ours without a row is ended: only users are found.
pub(crate) fn of_stray(account: &AccountName, fingerprint: &Fingerprint) -> Plan {
    let method = Method::IamUser { groups: Vec::new(), permissions_boundary: None };
    let make = RoleConfig {
        name: String::new(),
        method,
        policy: None,
        policy_arns: Vec::new(),
        tags: Default::default(),
        longest: 0,
    };
    let body = Body { make, identity: String::new() };
    Plan {
        account: account.clone(),
        fingerprint: fingerprint.clone(),
        revocable: Revocable::Eventual,
        expires_in_target: true,
        renewable: false,
        ends_by: None,
        slack: Duration::ZERO,
        room: None,
        params: Default::default(),
        body: serde_json::to_value(body).unwrap_or_default(),
    }
}

/// Where the ends of a role's sessions are told: in the policies of that IAM role. Sessions that are known by another word have another
/// policy, and so another room.
pub(crate) fn room(method: &Method) -> Option<String> {
    match method {
        Method::AssumeRole { role_arn, revocation: Revocation::Deny, source_identity, .. } => {
            Some(if *source_identity { role_arn.clone() } else { format!("{role_arn} (by session name)") })
        }
        _ => None,
    }
}

/// Whether nothing but AWS's clock ends it.
pub(crate) fn ends_by_clock(method: &Method) -> bool {
    !matches!(method, Method::IamUser { .. }) && room(method).is_none()
}

/// A SPIFFE ID may have 2048 bytes; what does not fit is told by its hash.
fn tag_of(spiffe_id: &str) -> String {
    if spiffe_id.chars().count() <= TAG_VALUE_MAX {
        spiffe_id.to_owned()
    } else {
        format!("sha256:{}", sha256_hex(spiffe_id))
    }
}

impl Body {
    /// Back from a plan.
    pub(crate) fn of(plan: &Plan) -> Result<Self, EngineError> {
        serde_json::from_value(plan.body.clone())
            .map_err(|e| EngineError::refused(format!("the plan is not ours: {e}")))
    }
}

/// What AWS said of a session: when it ends.
pub(crate) fn session_receipt(ends: Timestamp) -> Receipt {
    Receipt(json!({ "ends_ms": ends.unix_ms() }))
}

/// When the session of this receipt ends by AWS's word.
pub(crate) fn ends_of(receipt: &Receipt) -> Option<Timestamp> {
    receipt.0.get("ends_ms").and_then(Value::as_i64).map(Timestamp::from_unix_ms)
}

/// What AWS said of a user: its own id, which no other user ever has.
pub(crate) fn user_receipt(user_id: &str) -> Receipt {
    Receipt(json!({ "user_id": user_id }))
}

/// The id of the user of this receipt.
pub(crate) fn user_of(receipt: &Receipt) -> Option<&str> {
    receipt.0.get("user_id").and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_identity_is_told_by_its_hash() {
        assert_eq!(tag_of("spiffe://prod.example.org/ns/billing"), "spiffe://prod.example.org/ns/billing");
        let long = format!("spiffe://prod.example.org/{}", "a".repeat(300));
        let tag = tag_of(&long);
        assert!(tag.starts_with("sha256:") && tag.len() == 7 + 64, "{tag}");
        assert_ne!(tag, tag_of(&format!("{long}b")));
    }
}
