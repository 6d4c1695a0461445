//! Keys of an issuer, and what they sign: good tokens, and anything else.

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

pub struct Signer {
    pub kid: String,
    pub jwk: Value,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Signer {
    pub fn new(algorithm: Algorithm) -> Self {
        let (kind, bare_from) = match algorithm {
            Algorithm::ES256 => (&rcgen::PKCS_ECDSA_P256_SHA256, 0),
            Algorithm::EdDSA => (&rcgen::PKCS_ED25519, 0),
            // The library wants the key without what PKCS #8 puts before it, which is as long for every key of this size.
            Algorithm::RS256 => (&rcgen::PKCS_RSA_SHA256, 26),
            _ => unreachable!("an issuer has none"),
        };
        let der = rcgen::KeyPair::generate_for(kind).unwrap().serialize_der();
        let key = match algorithm {
            Algorithm::ES256 => EncodingKey::from_ec_der(&der),
            // Without the public half, which not every library writes.
            Algorithm::EdDSA => EncodingKey::from_ed_der(&bare_ed(&der)),
            _ => EncodingKey::from_rsa_der(&der[bare_from..]),
        };
        let jwk = Jwk::from_encoding_key(&key, algorithm).unwrap();
        let kid = jwk.thumbprint(ThumbprintHash::SHA256).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = json!(kid);
        jwk["use"] = json!("sig");
        Self { kid, jwk, algorithm, key }
    }

    pub fn header(&self, typ: &str) -> Value {
        json!({"typ": typ, "alg": format!("{:?}", self.algorithm), "kid": self.kid})
    }

    /// A token as an issuer makes it.
    pub fn token(&self, claims: &Value) -> String {
        self.sign(&self.header("at+jwt"), claims)
    }

    /// Any header over any claims, signed by this key whatever the header says.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    pub fn sign_text(&self, header: &str, claims: &str) -> String {
        let signed = parts(header, claims);
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &self.key, self.algorithm).unwrap();
        format!("{signed}.{signature}")
    }
}

/// What is signed of a JWS.
pub fn parts(header: &str, claims: &str) -> String {
    format!("{}.{}", BASE64URL_NOPAD.encode(header.as_bytes()), BASE64URL_NOPAD.encode(claims.as_bytes()))
}

/// An Ed25519 key in PKCS #8 version 1 (RFC 8410 section 7), whatever stood behind it.
fn bare_ed(der: &[u8]) -> Vec<u8> {
    const BEFORE: [u8; 16] = [0x30, 46, 0x02, 1, 0, 0x30, 5, 0x06, 3, 0x2b, 0x65, 0x70, 0x04, 34, 0x04, 32];
    let at = der.windows(4).position(|w| w == [0x04, 34, 0x04, 32]).unwrap() + 4;
    [&BEFORE, &der[at..at + 32]].concat()
}
