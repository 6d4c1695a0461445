//! A compact JWS (RFC 7515) up to and including its signature.

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::Refused;
use super::json;
use super::keys::Key;
use crate::limits::TOKEN_KID_BYTES_MAX;

/// Members of a header by which a token would choose who judges it, or change how (RFC 8725 sections 3.9 and 3.10).
const NEVER: [&str; 8] = ["jku", "jwk", "x5u", "x5c", "x5t", "x5t#S256", "crit", "b64"];

/// The algorithms of a Leasehold issuer. What an HMAC or `none` would let through is not even a question.
const ALGORITHMS: [(&str, Algorithm); 3] =
    [("ES256", Algorithm::ES256), ("EdDSA", Algorithm::EdDSA), ("RS256", Algorithm::RS256)];

/// A JWS that is well formed, and nothing more yet.
pub(super) struct Jws<'a> {
    /// Header and payload as they were signed.
    signed: &'a str,
    payload: &'a str,
    signature: &'a str,
    algorithm: Algorithm,
    /// The key that it says.
    pub(super) kid: String,
}

impl<'a> Jws<'a> {
    /// Takes it apart. `typ`: the media type that it must say, without `application/`. Its length is bounded by the caller.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub(super) fn parse(text: &'a str, typ: &str) -> Result<Self, Refused> {
        let no_three = Refused::Malformed("it has not three parts with dots between");
        let (signed, signature) = text.rsplit_once('.').ok_or(no_three.clone())?;
        let (header, payload) = signed.split_once('.').ok_or(no_three.clone())?;
        if payload.contains('.') {
            return Err(no_three);
        }
        let header = members(header, "its header is no JSON object in base64url")?;
        if let Some(name) = NEVER.into_iter().find(|name| header.contains_key(*name)) {
            return Err(Refused::HeaderNotAllowed(name));
        }
        if !header.get("typ").and_then(Value::as_str).is_some_and(|said| is_type(said, typ)) {
            return Err(Refused::WrongType);
        }
        let algorithm = header.get("alg").and_then(Value::as_str).ok_or(Refused::AlgorithmNotAllowed)?;
        let (_, algorithm) =
            ALGORITHMS.into_iter().find(|(name, _)| *name == algorithm).ok_or(Refused::AlgorithmNotAllowed)?;
        let kid = header.get("kid").and_then(Value::as_str).ok_or(Refused::Malformed("its header has no kid"))?;
        if !is_kid(kid) {
            return Err(Refused::Malformed("its kid is no name of a key"));
        }
        Ok(Self { signed, payload, signature, algorithm, kid: kid.to_owned() })
    }

    /// Its payload, if this key signed it.
    ///
    /// # Errors
    /// [`Refused::AlgorithmNotAllowed`] when the key is for another algorithm than the header says: the key decides.
    pub(super) fn verified(&self, key: &Key) -> Result<Map<String, Value>, Refused> {
        if self.algorithm != key.algorithm {
            return Err(Refused::AlgorithmNotAllowed);
        }
        // The library is asked with text that is known to be strict base64url, so that a signature has one form.
        if BASE64URL_NOPAD.decode(self.signature.as_bytes()).is_err() {
            return Err(Refused::Malformed("its signature is not base64url"));
        }
        let good = jsonwebtoken::crypto::verify(self.signature, self.signed.as_bytes(), &key.public, key.algorithm);
        match good {
            Ok(true) => members(self.payload, "its payload is no JSON object in base64url"),
            _ => Err(Refused::BadSignature),
        }
    }
}

fn members(part: &str, why: &'static str) -> Result<Map<String, Value>, Refused> {
    let bytes = BASE64URL_NOPAD.decode(part.as_bytes()).ok();
    bytes.and_then(|bytes| json::object(&bytes)).ok_or(Refused::Malformed(why))
}

/// RFC 7515 section 4.1.9: `application/` may be left out, and media types have no case.
fn is_type(said: &str, typ: &str) -> bool {
    const TREE: &str = "application/";
    let bare = match said.get(..TREE.len()) {
        Some(tree) if tree.eq_ignore_ascii_case(TREE) => &said[TREE.len()..],
        _ => said,
    };
    bare.eq_ignore_ascii_case(typ)
}

/// A name is only ever compared. Ours are thumbprints; other text is refused before anybody could take it for a path or a query.
pub(super) fn is_kid(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=TOKEN_KID_BYTES_MAX).contains(&text.len()) && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(header: &str) -> Result<String, Refused> {
        let text = format!("{}.e30.AA", BASE64URL_NOPAD.encode(header.as_bytes()));
        Jws::parse(&text, "at+jwt").map(|jws| jws.kid)
    }

    #[test]
    fn a_header_says_type_algorithm_and_key_and_chooses_nothing() {
        assert_eq!(parse(r#"{"typ": "at+jwt", "alg": "ES256", "kid": "k"}"#).unwrap(), "k");
        assert!(parse(r#"{"typ": "Application/AT+JWT", "alg": "EdDSA", "kid": "k"}"#).is_ok());
        for typ in
            [r#""typ": "JWT","#, r#""typ": 7,"#, "", r#""typ": "statuslist+jwt","#, r#""typ": "applicationé/at+jwt","#]
        {
            assert_eq!(parse(&format!(r#"{{{typ} "alg": "ES256", "kid": "k"}}"#)), Err(Refused::WrongType), "{typ}");
        }
        for alg in ["\"none\"", "\"None\"", "\"HS256\"", "\"ES384\"", "\"PS256\"", "\"es256\"", "null", "[\"ES256\"]"] {
            let header = format!(r#"{{"typ": "at+jwt", "alg": {alg}, "kid": "k"}}"#);
            assert_eq!(parse(&header), Err(Refused::AlgorithmNotAllowed), "{alg}");
        }
        for name in NEVER {
            let header = format!(r#"{{"typ": "at+jwt", "alg": "ES256", "kid": "k", "{name}": "x"}}"#);
            assert_eq!(parse(&header), Err(Refused::HeaderNotAllowed(name)));
        }
        let huge = "k".repeat(TOKEN_KID_BYTES_MAX + 1);
        for kid in ["", "../../etc/passwd", "' OR 1=1 --", "https://evil.example/k", "k\\u0000", "k k", &huge] {
            let header = format!(r#"{{"typ": "at+jwt", "alg": "ES256", "kid": "{kid}"}}"#);
            assert!(matches!(parse(&header), Err(Refused::Malformed(why)) if why.contains("kid")), "{kid}");
        }
        assert!(matches!(parse(r#"{"typ": "at+jwt", "alg": "ES256"}"#), Err(Refused::Malformed(_))));
    }

    #[test]
    fn what_has_not_three_parts_is_none() {
        for text in ["", ".", "..", "a.b", "a.b.c.d", "e30.e30.", "e30=.e30.AA", "€.€.€"] {
            assert!(Jws::parse(text, "at+jwt").is_err(), "{text}");
        }
    }
}
