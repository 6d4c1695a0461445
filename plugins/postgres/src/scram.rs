//! The SCRAM-SHA-256 verifier that PostgreSQL stores instead of a password (RFC 5802 section 3, RFC 7677).
//!
//! It is made here so that the password never crosses the wire and never reaches the target's statement log (law 6).
//! SASLprep is left out: our passwords are ASCII letters and digits, which it does not change.

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use data_encoding::BASE64;
use leasehold_sdk::random;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

/// A verifier for `password` with a new random salt, in PostgreSQL's own form
/// `SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>`.
pub(crate) fn verifier(password: &SecretString, iterations: NonZeroU32) -> String {
    verifier_with_salt(password.expose_secret().as_bytes(), iterations, &random::bytes::<16>())
}

fn verifier_with_salt(password: &[u8], iterations: NonZeroU32, salt: &[u8]) -> String {
    let mut salted = Zeroizing::new([0u8; 32]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, password, salted.as_mut());
    let key = hmac::Key::new(hmac::HMAC_SHA256, salted.as_ref());
    let client_key = hmac::sign(&key, b"Client Key");
    let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
    let server_key = hmac::sign(&key, b"Server Key");
    format!(
        "SCRAM-SHA-256${iterations}:{}${}:{}",
        BASE64.encode(salt),
        BASE64.encode(stored_key.as_ref()),
        BASE64.encode(server_key.as_ref())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example exchange of RFC 7677 section 3: its server signature proves the server key, its client proof the stored key.
    #[test]
    fn it_is_the_verifier_of_rfc_7677() {
        let salt = BASE64.decode(b"W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let text = verifier_with_salt(b"pencil", NonZeroU32::new(4096).unwrap(), &salt);
        let keys = text.strip_prefix("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$").unwrap();
        let (stored, server) = keys.split_once(':').unwrap();
        let auth = b"n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
            s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";

        let server_key = hmac::Key::new(hmac::HMAC_SHA256, &BASE64.decode(server.as_bytes()).unwrap());
        let signature = BASE64.encode(hmac::sign(&server_key, auth).as_ref());
        assert_eq!(signature, "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");

        let stored = BASE64.decode(stored.as_bytes()).unwrap();
        let client_signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &stored), auth);
        let proof = BASE64.decode(b"dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=").unwrap();
        let client_key: Vec<u8> = proof.iter().zip(client_signature.as_ref()).map(|(a, b)| a ^ b).collect();
        assert_eq!(digest::digest(&digest::SHA256, &client_key).as_ref(), stored);
    }
}
