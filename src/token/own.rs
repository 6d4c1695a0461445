//! Tokens of our own that somebody shows us.

use jsonwebtoken::{Validation, decode, decode_header};
use leasehold_sdk::{AccountName, JwtAlgorithm, Timestamp};
use serde_json::{Map, Value};

use super::issuer::{Issuer, TOKEN_BYTES_MAX};

/// The media type of an access token (RFC 9068 section 2.1), without `application/`.
const ACCESS_TOKEN: &str = "at+jwt";

/// A token that one of our keys has signed. That it has not ended is another question.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnToken {
    /// The name of its lease's account, which is its own (`jti`).
    pub account: AccountName,
    /// Of whom it speaks.
    pub subject: String,
    /// Who asked for it.
    pub client: String,
    /// Whom it is for.
    pub audience: String,
    /// What it allows: names with spaces between.
    pub scope: String,
    /// When it ends.
    pub expires_at: Timestamp,
    /// Who exchanged it, if somebody did.
    pub actor: Option<Value>,
    /// Whether it has a lease.
    pub leased: bool,
    /// All that it says.
    pub claims: Map<String, Value>,
}

impl Issuer {
    /// Reads a token; `None`: it is none of ours, or of a key that is no longer published. Why is not told: whoever shows a token that
    /// is not good learns nothing of it (RFC 7662 section 2.2).
    pub fn read(&self, token: &str) -> Option<OwnToken> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let in_force = self.in_force()?;
        let header = decode_header(token).ok()?;
        let kid = header.kid.as_deref()?;
        let key = in_force.published.tokens.iter().find(|key| key.kid == kid)?;
        if header.typ.as_deref() != Some(ACCESS_TOKEN) || header.alg != key.algorithm() {
            return None;
        }
        let mut validation = Validation::new(key.algorithm());
        // The end is judged by the broker's clock, the audience by who asks.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let claims: Map<String, Value> = decode(token, key.verifier(), &validation).ok()?.claims;
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        if text("iss")? != in_force.issuer {
            return None;
        }
        let seconds = claims.get("exp")?.as_i64()?;
        Some(OwnToken {
            account: text("jti")?.parse().ok()?,
            subject: text("sub")?.to_owned(),
            client: text("client_id")?.to_owned(),
            audience: text("aud")?.to_owned(),
            scope: text("scope")?.to_owned(),
            expires_at: Timestamp::from_unix_ms(seconds.checked_mul(1000)?),
            actor: claims.get("act").cloned(),
            leased: claims.contains_key("status"),
            claims,
        })
    }
}

/// The algorithm of that name.
pub fn algorithm(name: &str) -> Option<JwtAlgorithm> {
    JwtAlgorithm::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
}
