//! One signing key.

use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use data_encoding::BASE64;
use jsonwebtoken::jwk::{Jwk, KeyOperations, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use leasehold_sdk::{JwtAlgorithm, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::purpose::Purpose;

/// A key cannot be made, read or used. Never says what it holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a {} key {what}", .algorithm.as_str())]
pub struct KeyError {
    algorithm: JwtAlgorithm,
    what: &'static str,
}

/// One generation of one line of keys, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyLine {
    /// What it signs.
    pub purpose: Purpose,
    /// Counts up.
    pub generation: u64,
    /// Its name in tokens.
    pub kid: String,
    /// `next`, `active` or `retiring`.
    pub state: &'static str,
    /// When it was made.
    pub made_at: Timestamp,
}

/// A key that signs, and what verifiers are told of it.
pub struct TokenKey {
    /// Its name in tokens: the thumbprint of its public half (RFC 7638), so that no two keys share one.
    pub kid: String,
    /// Its public half (RFC 7517).
    pub jwk: Jwk,
    /// The sealed text that it was read from: what is unchanged need not be opened again.
    pub(super) sealed_as: String,
    /// What it signs.
    pub(super) purpose: Purpose,
    signer: EncodingKey,
    verifier: DecodingKey,
}

/// A new key, in the form in which it is sealed. Slow for RSA.
///
/// # Errors
/// When the library makes none.
pub fn make(algorithm: JwtAlgorithm) -> Result<SecretString, KeyError> {
    let failed = KeyError { algorithm, what: "cannot be made" };
    let der = match algorithm {
        // Keys of Edwards curves of version 1, without the public half: the signing library takes no other.
        JwtAlgorithm::Es256 => EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .and_then(|pair| pair.to_pkcs8v1())
            .map(|document| Zeroizing::new(document.as_ref().to_vec()))
            .map_err(|_| failed)?,
        JwtAlgorithm::EdDsa => Ed25519KeyPair::generate()
            .and_then(|pair| pair.to_pkcs8v1())
            .map(|document| Zeroizing::new(document.as_ref().to_vec()))
            .map_err(|_| failed)?,
        JwtAlgorithm::Rs256 => {
            let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| failed.clone())?;
            let document: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| failed.clone())?;
            Zeroizing::new(bare_rsa(document.as_ref()).ok_or(failed)?.to_vec())
        }
    };
    Ok(SecretString::from(BASE64.encode(&der)))
}

/// The RSA key in a PKCS #8 document (RFC 5208), which is how the signing library wants it: what stands before it is the same
/// for every key of this size.
fn bare_rsa(pkcs8: &[u8]) -> Option<&[u8]> {
    const VERSION_AND_ALGORITHM: [u8; 18] =
        [0x02, 1, 0, 0x30, 13, 0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 0x05, 0];
    let (sequence, rest) = pkcs8.split_at_checked(4)?;
    let rest = rest.strip_prefix(&VERSION_AND_ALGORITHM)?;
    let (octets, key) = rest.split_at_checked(4)?;
    let has_its_length = |header: &[u8], tag, inside: &[u8]| {
        header[0] == tag && header[1] == 0x82 && usize::from(u16::from_be_bytes([header[2], header[3]])) == inside.len()
    };
    (has_its_length(sequence, 0x30, &pkcs8[4..]) && has_its_length(octets, 0x04, key)).then_some(key)
}

impl TokenKey {
    /// Reads a key that was kept; `sealed_as`: the sealed text that it was kept as.
    ///
    /// # Errors
    /// When it is none of this purpose's algorithm.
    pub fn read(purpose: Purpose, kept: &SecretString, sealed_as: String) -> Result<Self, KeyError> {
        let algorithm = purpose.algorithm();
        let broken = || KeyError { algorithm, what: "that was kept cannot be read" };
        let der = BASE64.decode(kept.expose_secret().as_bytes()).map(Zeroizing::new).map_err(|_| broken())?;
        let signer = match algorithm {
            JwtAlgorithm::Es256 => EncodingKey::from_ec_der(&der),
            JwtAlgorithm::EdDsa => EncodingKey::from_ed_der(&der),
            JwtAlgorithm::Rs256 => EncodingKey::from_rsa_der(&der),
        };
        let mut jwk = Jwk::from_encoding_key(&signer, of(algorithm)).map_err(|_| broken())?;
        let kid = jwk.thumbprint(ThumbprintHash::SHA256).map_err(|_| broken())?;
        jwk.common.key_id = Some(kid.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        jwk.common.key_operations = Some(vec![KeyOperations::Verify]);
        let verifier = DecodingKey::from_jwk(&jwk).map_err(|_| broken())?;
        Ok(Self { kid, jwk, sealed_as, purpose, signer, verifier })
    }

    /// By which it signs.
    pub(super) fn algorithm(&self) -> Algorithm {
        of(self.purpose.algorithm())
    }

    /// Its public half.
    pub(super) fn verifier(&self) -> &DecodingKey {
        &self.verifier
    }

    /// Signs.
    ///
    /// # Errors
    /// When the library does not.
    pub fn sign(&self, typ: &str, claims: &Map<String, Value>) -> Result<SecretString, KeyError> {
        self.signed(typ, claims).map(SecretString::from)
    }

    /// The same of what is no secret.
    ///
    /// # Errors
    /// As [`TokenKey::sign`].
    pub(super) fn sign_open(&self, typ: &str, claims: &Map<String, Value>) -> Result<Arc<str>, KeyError> {
        self.signed(typ, claims).map(Arc::from)
    }

    fn signed(&self, typ: &str, claims: &Map<String, Value>) -> Result<String, KeyError> {
        let algorithm = self.purpose.algorithm();
        let header = Header { typ: Some(typ.to_owned()), kid: Some(self.kid.clone()), ..Header::new(of(algorithm)) };
        let failed = |_| KeyError { algorithm, what: "does not sign" };
        jsonwebtoken::encode(&header, claims, &self.signer).map_err(failed)
    }
}

fn of(algorithm: JwtAlgorithm) -> Algorithm {
    match algorithm {
        JwtAlgorithm::Es256 => Algorithm::ES256,
        JwtAlgorithm::EdDsa => Algorithm::EdDSA,
        JwtAlgorithm::Rs256 => Algorithm::RS256,
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Validation, decode, decode_header};

    use super::*;

    #[test]
    fn what_a_key_signs_its_public_half_verifies_and_no_other() {
        for algorithm in JwtAlgorithm::ALL {
            let [key, other] = [(); 2].map(|()| {
                TokenKey::read(Purpose::Tokens(algorithm), &make(algorithm).unwrap(), String::new()).unwrap()
            });
            let claims = serde_json::json!({"aud": "a", "exp": 4_000_000_000_u64});
            let token = key.sign("at+jwt", claims.as_object().unwrap()).unwrap();
            let token = token.expose_secret();
            let header = decode_header(token).unwrap();
            assert_eq!((header.kid.as_deref(), header.typ.as_deref()), (Some(key.kid.as_str()), Some("at+jwt")));
            let mut validation = Validation::new(of(algorithm));
            validation.set_audience(&["a"]);
            let by = |key: &TokenKey| decode::<Value>(token, &DecodingKey::from_jwk(&key.jwk).unwrap(), &validation);
            assert!(by(&key).is_ok() && by(&other).is_err(), "{algorithm:?}");
            assert_ne!(key.kid, other.kid);
            let published = serde_json::to_string(&key.jwk).unwrap();
            assert!(!published.contains("\"d\"") && !published.contains("\"p\""), "{published}");
        }
    }

    #[test]
    fn what_is_no_key_is_told_without_its_content() {
        for text in ["", "canary", "Y2FuYXJ5"] {
            for algorithm in JwtAlgorithm::ALL {
                let error = TokenKey::read(Purpose::Tokens(algorithm), &SecretString::from(text), String::new())
                    .err()
                    .expect("no key")
                    .to_string();
                assert!(error.contains("cannot be read") && !error.contains("canary"), "{error}");
            }
        }
    }
}
