//! What a token will say, decided before it is signed and kept in the lease's row.

use std::collections::BTreeMap;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};
use leasehold_sdk::{EngineError, JwtAlgorithm, MintOrder, Plan, PlanRequest, Revocable, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::role::{Bind, RoleConfig};

/// The engine's own part of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Body {
    audience: String,
    subject: String,
    /// Names with spaces between.
    pub(crate) scope: String,
    claims: BTreeMap<String, String>,
    /// SHA-256 of the certificate that it is bound to, as `cnf.x5t#S256` has it.
    certificate: Option<String>,
    pub(crate) algorithm: JwtAlgorithm,
}

/// Decides what the token says.
///
/// # Errors
/// [`EngineError::Refused`] when what the caller asks for is nothing that the role has.
pub(crate) fn plan(audience: &str, request: &PlanRequest<'_>) -> Result<Plan, EngineError> {
    let role = RoleConfig::from_settings(request.settings).map_err(EngineError::refused)?;
    let scopes = role.choose(request.scope).map_err(EngineError::refused)?;
    let caller = request.caller;
    let certificate = match role.bind {
        Bind::None => None,
        Bind::Certificate => Some(thumbprint(&caller.cert_sha256)?),
    };
    let claim = |(name, claim): (&String, &crate::claims::ClaimTemplate)| {
        let text = claim.fill(&caller.params);
        text.map(|text| (name.clone(), text)).ok_or_else(|| EngineError::refused(format!("a param of the claim {name} is missing")))
    };
    let body = Body {
        audience: audience.to_owned(),
        subject: caller.spiffe_id.clone(),
        scope: scopes.join(" "),
        claims: role.claims.iter().map(claim).collect::<Result<_, _>>()?,
        certificate,
        algorithm: role.algorithm,
    };
    Ok(Plan {
        account: request.account.clone(),
        fingerprint: request.fingerprint.clone(),
        // Whoever asks hears of its end at once; whoever only looks at the signature takes it until it ends.
        revocable: Revocable::Eventual,
        expires_in_target: true,
        renewable: false,
        // A token that is bound to a certificate is worth nothing after it, and none outlives the identity that it speaks for.
        ends_by: Some(caller.not_after),
        params: caller.params.clone(),
        body: serde_json::to_value(body).map_err(|e| EngineError::refused(e.to_string()))?,
    })
}

/// From hex to what RFC 8705 section 3.1 wants.
fn thumbprint(hex: &str) -> Result<String, EngineError> {
    let bytes = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok().filter(|bytes| bytes.len() == 32);
    bytes.map(|bytes| BASE64URL_NOPAD.encode(&bytes)).ok_or_else(|| EngineError::refused("the caller's certificate has no fingerprint"))
}

impl Body {
    /// Back from a plan.
    pub(crate) fn of(plan: &Plan) -> Result<Self, EngineError> {
        serde_json::from_value(plan.body.clone()).map_err(|e| EngineError::refused(format!("the plan is not ours: {e}")))
    }

    /// What is signed (RFC 9068 section 2.2): all but the issuer, who adds himself.
    pub(crate) fn claims(&self, order: &MintOrder, now: Timestamp) -> Map<String, Value> {
        // The role's own first: what every token has cannot be overwritten.
        let mut claims: Map<String, Value> =
            self.claims.iter().map(|(name, text)| (name.clone(), Value::String(text.clone()))).collect();
        for (name, value) in [
            ("aud", json!(self.audience)),
            ("sub", json!(self.subject)),
            ("client_id", json!(self.subject)),
            ("scope", json!(self.scope)),
            // One name in the token, in the lease and in the audit log.
            ("jti", json!(order.plan.account.to_string())),
            ("iat", json!(seconds(now))),
            ("exp", json!(seconds(order.expires_at))),
        ] {
            claims.insert(name.to_owned(), value);
        }
        if let Some(certificate) = &self.certificate {
            claims.insert("cnf".to_owned(), json!({ "x5t#S256": certificate }));
        }
        claims
    }
}

/// RFC 7519 section 2: `NumericDate`. Cut, so that a token never ends later than its lease.
fn seconds(time: Timestamp) -> i64 {
    time.unix_ms().div_euclid(1000)
}
