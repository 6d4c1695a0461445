//! What a token says (RFC 9068 section 2.2), and whether it says it to us and now.

use std::collections::BTreeMap;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use leasehold_identity::SpiffeId;
use serde_json::{Map, Value};

use super::Refused;

/// Claims that are read one by one, or mean something that a service must not take for a role's own word.
const STANDARD: [&str; 13] =
    ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "scope", "cnf", "act", "may_act", "status", "client_id"];

/// The claims of a token whose signature is good.
#[derive(Debug)]
pub(super) struct Claims {
    issuer: String,
    /// `None`: it is no single text.
    audience: Option<String>,
    pub(super) subject: SpiffeId,
    pub(super) actor: Option<SpiffeId>,
    pub(super) id: String,
    pub(super) scopes: Vec<String>,
    /// Seconds since the epoch, as the three below.
    pub(super) expires_at: i64,
    pub(super) issued_at: i64,
    not_before: Option<i64>,
    /// SHA-256 of the certificate that it is bound to.
    pub(super) certificate: Option<[u8; 32]>,
    pub(super) status: Option<StatusAt>,
    /// The role's own.
    pub(super) own: BTreeMap<String, String>,
}

/// Where the status of a token is (Token Status List, draft 17, section 6.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StatusAt {
    pub(super) list: String,
    pub(super) index: u64,
}

impl Claims {
    /// Reads them.
    ///
    /// # Errors
    /// [`Refused::Malformed`] for one that is not there or not as it must be.
    pub(super) fn read(members: &Map<String, Value>) -> Result<Self, Refused> {
        let text = |name: &str, why| members.get(name).and_then(Value::as_str).ok_or(Refused::Malformed(why));
        let subject = SpiffeId::parse(text("sub", "it has no sub")?);
        Ok(Self {
            issuer: text("iss", "it has no iss")?.to_owned(),
            audience: members.get("aud").and_then(Value::as_str).map(str::to_owned),
            subject: subject.map_err(|_| Refused::Malformed("its sub is no SPIFFE ID"))?,
            actor: members.get("act").map(actor).transpose()?,
            id: text("jti", "it has no jti")?.to_owned(),
            scopes: match members.get("scope") {
                None => Vec::new(),
                Some(Value::String(scope)) => scope.split(' ').filter(|s| !s.is_empty()).map(str::to_owned).collect(),
                Some(_) => return Err(Refused::Malformed("its scope is no text")),
            },
            expires_at: seconds(members, "exp")?.ok_or(Refused::Malformed("it has no exp"))?,
            issued_at: seconds(members, "iat")?.ok_or(Refused::Malformed("it has no iat"))?,
            not_before: seconds(members, "nbf")?,
            certificate: members.get("cnf").map(certificate).transpose()?,
            status: members.get("status").map(status).transpose()?,
            own: own(members),
        })
    }

    /// Is it of this issuer, for this audience, and valid at `now` (seconds since the epoch)?
    ///
    /// # Errors
    /// What does not hold.
    pub(super) fn check(&self, issuer: &str, audience: &str, now: i64, leeway: Duration) -> Result<(), Refused> {
        if self.issuer != issuer {
            return Err(Refused::WrongIssuer { expected: issuer.to_owned() });
        }
        if self.audience.as_deref() != Some(audience) {
            return Err(Refused::WrongAudience { expected: audience.to_owned() });
        }
        let leeway = i64::try_from(leeway.as_secs()).unwrap_or_default();
        if now >= self.expires_at.saturating_add(leeway) {
            return Err(Refused::Expired { seconds: now.saturating_sub(self.expires_at).unsigned_abs() });
        }
        let begins = self.issued_at.max(self.not_before.unwrap_or(i64::MIN));
        if begins > now.saturating_add(leeway) {
            return Err(Refused::NotYetValid { seconds: begins.saturating_sub(now).unsigned_abs() });
        }
        Ok(())
    }

    /// Does it allow this?
    ///
    /// # Errors
    /// The first scope that is missing, or the first claim that differs.
    pub(super) fn allow(&self, scopes: &[&str], claims: &[(&str, &str)]) -> Result<(), Refused> {
        if let Some(scope) = scopes.iter().find(|wanted| !self.scopes.iter().any(|scope| scope == *wanted)) {
            return Err(Refused::ScopeMissing { scope: (*scope).to_owned() });
        }
        let differs = |(name, wanted): &&(&str, &str)| self.own.get(*name).is_none_or(|said| said != wanted);
        match claims.iter().find(differs) {
            Some((name, _)) => Err(Refused::ClaimDiffers { claim: (*name).to_owned() }),
            None => Ok(()),
        }
    }
}

/// RFC 7519 section 2: `NumericDate`. A Leasehold issuer writes whole seconds.
pub(super) fn seconds(members: &Map<String, Value>, name: &str) -> Result<Option<i64>, Refused> {
    let number = |value: &Value| value.as_i64().ok_or(Refused::Malformed("a time in it is no whole number of seconds"));
    members.get(name).map(number).transpose()
}

/// RFC 8693 section 4.1: the outermost is who acts now.
fn actor(act: &Value) -> Result<SpiffeId, Refused> {
    let id = act.get("sub").and_then(Value::as_str).and_then(|sub| SpiffeId::parse(sub).ok());
    id.ok_or(Refused::Malformed("its act names no SPIFFE ID"))
}

/// RFC 8705 section 3.1. A confirmation of another kind must not be taken for none.
fn certificate(cnf: &Value) -> Result<[u8; 32], Refused> {
    let only = cnf.as_object().filter(|members| members.len() == 1).and_then(|members| members.get("x5t#S256"));
    let bytes = only.and_then(Value::as_str).and_then(|text| BASE64URL_NOPAD.decode(text.as_bytes()).ok());
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(Refused::Malformed("its cnf is another than one certificate's SHA-256 (RFC 8705)"))
}

fn status(status: &Value) -> Result<StatusAt, Refused> {
    let of = |list: &Value| {
        let index = list.get("idx")?.as_u64()?;
        Some(StatusAt { index, list: list.get("uri")?.as_str()?.to_owned() })
    };
    status.get("status_list").and_then(of).ok_or(Refused::Malformed("its status is no place in a status list"))
}

fn own(members: &Map<String, Value>) -> BTreeMap<String, String> {
    let texts = members.iter().filter_map(|(name, value)| Some((name, value.as_str()?)));
    let own = texts.filter(|(name, _)| !STANDARD.contains(&name.as_str()));
    own.map(|(name, text)| (name.clone(), text.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn read(change: impl FnOnce(&mut Map<String, Value>)) -> Result<Claims, Refused> {
        let claims = json!({
            "iss": "https://l.example", "aud": "https://p.example", "sub": "spiffe://d/x", "jti": "j", "scope": "a  b",
            "iat": NOW, "exp": NOW + 60, "tenant": "42", "client_id": "spiffe://d/x", "number": 7,
        });
        let Value::Object(mut members) = claims else { unreachable!() };
        change(&mut members);
        Claims::read(&members)
    }

    fn check(claims: &Claims, now: i64) -> Result<(), Refused> {
        claims.check("https://l.example", "https://p.example", now, Duration::from_secs(30))
    }

    #[test]
    fn time_is_judged_to_the_second() {
        let claims = read(|_| ()).unwrap();
        assert_eq!(check(&claims, NOW - 30), Ok(()));
        assert_eq!(check(&claims, NOW - 31), Err(Refused::NotYetValid { seconds: 31 }));
        assert_eq!(check(&claims, NOW + 89), Ok(()));
        assert_eq!(check(&claims, NOW + 90), Err(Refused::Expired { seconds: 30 }));
        let later = read(|c| drop(c.insert("nbf".into(), json!(NOW + 50)))).unwrap();
        assert_eq!(check(&later, NOW + 10), Err(Refused::NotYetValid { seconds: 40 }));
        assert_eq!(check(&later, NOW + 20), Ok(()));
        let end_of_time = read(|c| drop(c.insert("exp".into(), json!(i64::MAX)))).unwrap();
        assert_eq!(check(&end_of_time, NOW), Ok(()));
        let never = read(|c| drop(c.insert("iat".into(), json!(i64::MAX)))).unwrap();
        assert!(matches!(check(&never, NOW), Err(Refused::NotYetValid { .. })));
    }

    #[test]
    fn what_is_not_as_it_must_be_is_refused() {
        for (name, value) in [
            ("sub", json!("billing")),
            ("sub", json!(["spiffe://d/x"])),
            ("iss", Value::Null),
            ("jti", json!(1)),
            ("exp", json!("9999999999")),
            ("exp", json!(1.5e9)),
            ("exp", json!(u64::MAX)),
            ("iat", Value::Null),
            ("nbf", json!("now")),
            ("scope", json!(["a"])),
            ("cnf", json!({"x5t#S256": "AAAA"})),
            ("cnf", json!({"jkt": "x"})),
            ("cnf", json!({"x5t#S256": BASE64URL_NOPAD.encode(&[0; 32]), "jkt": "x"})),
            ("cnf", json!({})),
            ("cnf", Value::Null),
            ("act", json!({"sub": "somebody"})),
            ("act", json!("spiffe://d/x")),
            ("status", json!({})),
            ("status", json!({"status_list": {"idx": -1, "uri": "https://l.example"}})),
            ("status", json!({"status_list": {"idx": "1", "uri": "https://l.example"}})),
        ] {
            let found = read(|c| drop(c.insert(name.into(), value.clone())));
            assert!(matches!(found, Err(Refused::Malformed(_))), "{name} {value}: {found:?}");
        }
        for gone in ["iss", "sub", "jti", "exp", "iat"] {
            assert!(matches!(read(|c| drop(c.remove(gone))), Err(Refused::Malformed(_))), "{gone}");
        }
    }

    #[test]
    fn an_audience_is_one_text() {
        for aud in [json!(["https://p.example"]), json!("https://p.example/"), json!("https://P.example"), Value::Null]
        {
            let claims = read(|c| drop(c.insert("aud".into(), aud.clone()))).unwrap();
            assert!(matches!(check(&claims, NOW), Err(Refused::WrongAudience { .. })), "{aud}");
        }
    }

    #[test]
    fn all_that_is_wanted_must_be_there() {
        let claims = read(|_| ()).unwrap();
        assert_eq!(claims.allow(&["b", "a"], &[("tenant", "42")]), Ok(()));
        assert_eq!(claims.allow(&[], &[]), Ok(()));
        assert_eq!(claims.allow(&["a", "A"], &[]), Err(Refused::ScopeMissing { scope: "A".into() }));
        for (name, value) in
            [("tenant", "4"), ("tenant", ""), ("region", "42"), ("number", "7"), ("client_id", "spiffe://d/x")]
        {
            assert_eq!(claims.allow(&["a"], &[(name, value)]), Err(Refused::ClaimDiffers { claim: name.into() }));
        }
    }
}
