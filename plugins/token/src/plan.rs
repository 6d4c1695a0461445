//! What a token will say, decided before it is signed and kept in the lease's row.

use std::collections::BTreeMap;
use std::time::Duration;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};
use leasehold_sdk::{
    Behalf, EngineError, JwtAlgorithm, JwtOrder, MintOrder, Plan, PlanRequest, Receipt, Revocable, RevokeOrder,
    StatusSlot, Timestamp, Withdrawal,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::role::{Bind, RoleConfig};

/// The media type of an access token (RFC 9068 section 2.1), without `application/`.
const ACCESS_TOKEN: &str = "at+jwt";

/// Longest life of a token: where its end was never heard of, it is over so long after its deadline.
const LIFE_MAX: Duration = Duration::from_secs(24 * 3600);

/// How often a token may be exchanged for another.
const ACTORS_MAX: usize = 4;

/// The engine's own part of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Body {
    audience: String,
    subject: String,
    /// Who asked for it.
    client: String,
    /// The same, where that is another, with those who did so before (`act`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    actor: Option<Value>,
    /// Names with spaces between.
    pub(crate) scope: String,
    claims: BTreeMap<String, String>,
    /// SHA-256 of the certificate that it is bound to, as `cnf.x5t#S256` has it.
    certificate: Option<String>,
    pub(crate) algorithm: JwtAlgorithm,
    /// Where its end is told; `None`: nobody can end it.
    pub(crate) slot: Option<StatusSlot>,
}

/// Decides what the token says.
///
/// # Errors
/// [`EngineError::Refused`] when what the caller asks for is nothing that the role has.
pub(crate) fn plan(audience: &str, request: &PlanRequest<'_>) -> Result<Plan, EngineError> {
    let role = RoleConfig::from_settings(request.settings).map_err(EngineError::refused)?;
    let caller = request.caller;
    let mut scopes = role.choose(request.scope).map_err(EngineError::refused)?;
    if let Some(behalf) = &caller.behalf {
        // Nobody gets more on somebody's behalf than that one's own token allows.
        scopes.retain(|scope| behalf.scope.split(' ').any(|has| has == scope));
        if scopes.is_empty() {
            return Err(EngineError::refused("the token that is exchanged allows none of these scopes"));
        }
    }
    let certificate = match role.bind {
        Bind::None => None,
        Bind::Certificate => Some(thumbprint(&caller.cert_sha256)?),
    };
    let claim = |(name, claim): (&String, &crate::claims::ClaimTemplate)| {
        let text = claim.fill(&caller.params, &caller.captured);
        text.map(|text| (name.clone(), text))
            .ok_or_else(|| EngineError::refused(format!("what the claim {name} is made of is missing")))
    };
    let claims: BTreeMap<String, String> = role.claims.iter().map(claim).collect::<Result<_, _>>()?;
    if let Some(behalf) = &caller.behalf
        && let Some((name, _)) =
            claims.iter().find(|(name, text)| behalf.claims.get(*name).is_some_and(|has| has != *text))
    {
        // Who was sent a token for one tenant does not make of it one for another.
        return Err(EngineError::refused(format!("the token that is exchanged says another {name}")));
    }
    let body = Body {
        audience: audience.to_owned(),
        subject: caller.behalf.as_ref().map_or(&caller.spiffe_id, |behalf| &behalf.subject).clone(),
        client: caller.spiffe_id.clone(),
        actor: caller.behalf.as_ref().map(|behalf| actor(&caller.spiffe_id, behalf)).transpose()?,
        scope: scopes.join(" "),
        claims,
        certificate,
        algorithm: role.algorithm,
        slot: request.slot.clone(),
    };
    Ok(Plan {
        account: request.account.clone(),
        fingerprint: request.fingerprint.clone(),
        // Whoever asks hears of its end at once, whoever looks at the status list soon; whoever only looks at the signature takes it
        // until it ends. One without a lease is signed and forgotten.
        revocable: if request.slot.is_some() { Revocable::Eventual } else { Revocable::None },
        expires_in_target: true,
        renewable: false,
        // A token that is bound to a certificate is worth nothing after it, and none outlives the identity that it speaks for.
        ends_by: Some(caller.behalf.as_ref().map_or(caller.not_after, |behalf| behalf.ends_by.min(caller.not_after))),
        room: None,
        slack: Duration::ZERO,
        params: caller.params.clone(),
        body: serde_json::to_value(body).map_err(|e| EngineError::refused(e.to_string()))?,
    })
}

/// RFC 8693 section 4.1: the one who acts, and within, those who acted before.
fn actor(caller: &str, behalf: &Behalf) -> Result<Value, EngineError> {
    let before = behalf.actor.as_ref();
    if std::iter::successors(before, |actor| actor.get("act")).count() >= ACTORS_MAX {
        return Err(EngineError::refused(format!("the token has passed through {ACTORS_MAX} hands already")));
    }
    Ok(match before {
        Some(before) => json!({ "sub": caller, "act": before }),
        None => json!({ "sub": caller }),
    })
}

/// From hex to what RFC 8705 section 3.1 wants.
fn thumbprint(hex: &str) -> Result<String, EngineError> {
    let bytes = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok().filter(|bytes| bytes.len() == 32);
    bytes
        .map(|bytes| BASE64URL_NOPAD.encode(&bytes))
        .ok_or_else(|| EngineError::refused("the caller's certificate has no fingerprint"))
}

impl Body {
    /// Back from a plan.
    pub(crate) fn of(plan: &Plan) -> Result<Self, EngineError> {
        serde_json::from_value(plan.body.clone())
            .map_err(|e| EngineError::refused(format!("the plan is not ours: {e}")))
    }

    /// What is to be signed.
    pub(crate) fn order(&self, order: &MintOrder, now: Timestamp) -> JwtOrder {
        let claims = self.claims(order, now);
        JwtOrder { algorithm: self.algorithm, typ: ACCESS_TOKEN, claims, slot: self.slot.clone() }
    }

    /// RFC 9068 section 2.2: all but the issuer, who adds himself.
    fn claims(&self, order: &MintOrder, now: Timestamp) -> Map<String, Value> {
        // The role's own first: what every token has cannot be overwritten.
        let mut claims: Map<String, Value> =
            self.claims.iter().map(|(name, text)| (name.clone(), Value::String(text.clone()))).collect();
        for (name, value) in [
            ("aud", json!(self.audience)),
            ("sub", json!(self.subject)),
            ("client_id", json!(self.client)),
            ("scope", json!(self.scope)),
            // One name in the token, in the lease and in the audit log.
            ("jti", json!(order.plan.account.to_string())),
            ("iat", json!(seconds(now))),
            ("exp", json!(seconds(order.expires_at))),
        ] {
            claims.insert(name.to_owned(), value);
        }
        if let Some(actor) = &self.actor {
            claims.insert("act".to_owned(), actor.clone());
        }
        if let Some(certificate) = &self.certificate {
            claims.insert("cnf".to_owned(), json!({ "x5t#S256": certificate }));
        }
        claims
    }
}

/// What is kept of a token: when it ends.
pub(crate) fn receipt(order: &MintOrder) -> Receipt {
    Receipt(json!({ "exp": order.expires_at.unix_ms() }))
}

/// Where its end is told, and until when; `None`: nowhere.
///
/// # Errors
/// When the plan is not ours.
pub(crate) fn withdrawal(order: &RevokeOrder) -> Result<Option<Withdrawal>, EngineError> {
    let Some(slot) = Body::of(&order.plan)?.slot else { return Ok(None) };
    let known = order.receipt.as_ref().and_then(|receipt| receipt.0.get("exp")?.as_i64());
    let until = known.map_or_else(|| order.mint_deadline.plus(LIFE_MAX), Timestamp::from_unix_ms);
    Ok(Some(Withdrawal { slot, until }))
}

/// RFC 7519 section 2: `NumericDate`. Cut, so that a token never ends later than its lease.
fn seconds(time: Timestamp) -> i64 {
    time.unix_ms().div_euclid(1000)
}
