//! What a token says of itself, for its holder.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use secrecy::ExposeSecret;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::TokenCredential;

/// What a holder wants to know of a token. Its signature is not looked at: the holder has it from the broker itself. Nothing of
/// this is for whoever is shown a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    /// Its name (`jti`).
    pub(crate) name: Option<String>,
    /// From when on it is good and when it ends (`iat`, `exp`), in seconds since 1970.
    pub(crate) life: Option<(u64, u64)>,
    /// SHA-256, in lower-case hex, of the certificate that it is bound to (RFC 8705 section 3.1); `None`: it is bound to none.
    pub(crate) certificate: Option<String>,
}

#[derive(Deserialize)]
struct Claims {
    jti: Option<String>,
    iat: Option<u64>,
    exp: Option<u64>,
    cnf: Option<Confirmation>,
}

#[derive(Deserialize)]
struct Confirmation {
    #[serde(rename = "x5t#S256")]
    certificate: Option<String>,
}

impl TokenCredential {
    /// `None`: it is no JWT (RFC 7519), or says these things in no form that we know.
    pub(crate) fn said(&self) -> Option<Said> {
        let mut parts = self.access_token.expose_secret().split('.');
        let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
        let payload = Zeroizing::new(BASE64URL_NOPAD.decode(payload.as_bytes()).ok()?);
        let Claims { jti, iat, exp, cnf } = serde_json::from_slice(&payload).ok()?;
        let hex =
            |thumbprint: String| BASE64URL_NOPAD.decode(thumbprint.as_bytes()).ok().map(|hash| HEXLOWER.encode(&hash));
        Some(Said { name: jti, life: iat.zip(exp), certificate: cnf.and_then(|cnf| cnf.certificate).and_then(hex) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(payload: &str) -> Option<Said> {
        let access_token = format!("e30.{}.c2ln", BASE64URL_NOPAD.encode(payload.as_bytes())).into();
        let token = TokenCredential {
            access_token,
            token_type: "Bearer".into(),
            scope: "payments:read".into(),
            expires_at: "2026-01-02T03:14:05.000Z".into(),
        };
        token.said()
    }

    #[test]
    fn a_bound_token_says_to_which_certificate() {
        let payload = r#"{"jti": "lh_a", "iat": 100, "exp": 700, "aud": "x", "cnf": {"x5t#S256": "AAEC"}}"#;
        let wanted = Said { name: Some("lh_a".into()), life: Some((100, 700)), certificate: Some("000102".into()) };
        assert_eq!(said(payload), Some(wanted));
    }

    #[test]
    fn others_are_bound_to_none() {
        for payload in [r#"{"iat": 1, "exp": 2}"#, r#"{"cnf": {"jkt": "x"}}"#, r#"{"cnf": {"x5t#S256": "?"}}"#] {
            assert_eq!(said(payload).unwrap().certificate, None, "{payload}");
        }
        assert_eq!(said("{}").unwrap(), Said { name: None, life: None, certificate: None });
        assert_eq!(said("7"), None);
    }
}
