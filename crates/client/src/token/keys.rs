//! The keys of an issuer (RFC 7517): which are taken, and for what.

use std::collections::HashMap;
use std::sync::Arc;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use super::Refused;
use super::jws::is_kid;
use super::kept::Kept;
use crate::limits::ISSUER_KEYS_MAX;

/// A public key, and the one algorithm that it is for: a key never verifies by what a token says of itself (RFC 8725
/// section 3.1).
#[derive(Debug)]
pub(super) struct Key {
    pub(super) algorithm: Algorithm,
    pub(super) public: DecodingKey,
}

/// Keys by their names.
#[derive(Debug)]
pub(super) struct KeySet(HashMap<String, Arc<Key>>);

impl KeySet {
    /// Reads a key set. Keys of other kinds than ours are passed over (RFC 7517 section 5).
    ///
    /// # Errors
    /// Why it is none to go by. Nothing of its text is in it.
    pub(super) fn parse(document: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<Value>,
        }
        let Document { keys } =
            serde_json::from_slice(document).map_err(|_| "it is no key set (RFC 7517)".to_owned())?;
        if keys.len() > ISSUER_KEYS_MAX {
            return Err(format!("it has more than {ISSUER_KEYS_MAX} keys"));
        }
        let mut set = HashMap::new();
        for (kid, key) in keys.into_iter().filter_map(usable) {
            // Which of them would be meant is for nobody to guess.
            if set.insert(kid, Arc::new(key)).is_some() {
                return Err("two of its keys have the same kid".to_owned());
            }
        }
        if set.is_empty() { Err("it has no key for ES256, EdDSA or RS256".to_owned()) } else { Ok(Self(set)) }
    }
}

fn usable(key: Value) -> Option<(String, Key)> {
    let jwk: Jwk = serde_json::from_value(key).ok()?;
    let kid = jwk.common.key_id.clone().filter(|kid| is_kid(kid))?;
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => Algorithm::ES256,
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        _ => return None,
    };
    let is_for_it = jwk.common.key_algorithm.is_none_or(|said| said == KeyAlgorithm::from(algorithm));
    let is_to_sign = jwk.common.public_key_use.as_ref().is_none_or(|it| *it == PublicKeyUse::Signature);
    if !is_for_it || !is_to_sign {
        return None;
    }
    Some((kid, Key { algorithm, public: DecodingKey::from_jwk(&jwk).ok()? }))
}

/// The keys of one issuer, as they were last told.
#[derive(Clone)]
pub(super) struct Keys(Arc<Kept<KeySet>>);

impl Keys {
    pub(super) fn new(kept: Kept<KeySet>) -> Self {
        Self(Arc::new(kept))
    }

    /// The key of this name. One that is not known may be new: the issuer is asked once for all that wait, and not again at once.
    ///
    /// # Errors
    /// [`Refused::UnknownKey`], or [`Refused::KeysNotAvailable`] when there are none to look at.
    pub(super) async fn find(&self, kid: &str) -> Result<Arc<Key>, Refused> {
        let held = self.0.get().await.map_err(|why| Refused::KeysNotAvailable { why })?;
        if let Some(key) = held.value.0.get(kid) {
            return Ok(Arc::clone(key));
        }
        let newer = self.0.newer_than(&held).await;
        newer.and_then(|newer| newer.value.0.get(kid).cloned()).ok_or(Refused::UnknownKey)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
    const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

    #[test]
    fn a_key_is_for_one_algorithm_and_others_are_passed_over() {
        let keys = json!({"keys": [
            {"kty": "EC", "crv": "P-256", "x": X, "y": Y, "kid": "ec"},
            {"kty": "OKP", "crv": "Ed25519", "x": X, "kid": "ed", "alg": "EdDSA", "use": "sig"},
            {"kty": "RSA", "n": "sXch", "e": "AQAB", "kid": "rsa", "alg": "RS256"},
            {"kty": "oct", "k": "c2VjcmV0", "kid": "oct", "alg": "HS256"},
            {"kty": "EC", "crv": "P-384", "x": X, "y": Y, "kid": "p384"},
            {"kty": "EC", "crv": "P-256", "x": X, "y": Y, "kid": "enc", "use": "enc"},
            {"kty": "EC", "crv": "P-256", "x": X, "y": Y, "kid": "odd", "alg": "HS256"},
            {"kty": "RSA", "n": "sXch", "e": "AQAB", "kid": "pss", "alg": "PS256"},
            {"kty": "EC", "crv": "P-256", "x": X, "y": Y},
            {"kty": "EC", "crv": "P-256", "x": X, "y": Y, "kid": "../k"},
            {"kty": "new"},
            7,
        ]});
        let set = KeySet::parse(keys.to_string().as_bytes()).unwrap();
        let mut found: Vec<_> = set.0.iter().map(|(kid, key)| (kid.as_str(), key.algorithm)).collect();
        found.sort_by_key(|(kid, _)| *kid);
        assert_eq!(found, [("ec", Algorithm::ES256), ("ed", Algorithm::EdDSA), ("rsa", Algorithm::RS256)]);
    }

    #[test]
    fn what_is_no_key_set_is_told_without_its_text() {
        let key = json!({"kty": "EC", "crv": "P-256", "x": X, "y": Y, "kid": "a"});
        for (document, why) in [
            (json!({"keys": [key, key]}), "same kid"),
            (json!({"keys": vec![7; ISSUER_KEYS_MAX + 1]}), "more than"),
            (json!({"keys": []}), "no key for"),
            (json!({"canary": 1}), "no key set"),
        ] {
            let said = KeySet::parse(document.to_string().as_bytes()).unwrap_err();
            assert!(said.contains(why) && !said.contains("canary"), "{said}");
        }
    }
}
