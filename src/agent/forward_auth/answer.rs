//! What a proxy is answered: yes with what the token says, or no with what its client is to be told (RFC 6750 section 3).

use std::time::SystemTime;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use leasehold_client::token::{Refused, Verified};

/// The token is good. Every header is there, though it be empty: what a client has sent under its name is then overwritten.
pub(super) fn yes(good: &Verified) -> Response {
    let claims = serde_json::to_string(&good.claims).map(|text| ascii(&text));
    let ends = good.expires_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let headers = [
        ("x-token-subject", good.subject.to_string()),
        ("x-token-actor", good.actor.as_ref().map(ToString::to_string).unwrap_or_default()),
        ("x-token-scope", good.scopes.join(" ")),
        ("x-token-claims", claims.unwrap_or_default()),
        ("x-token-id", good.id.clone()),
        ("x-token-expires", ends.to_string()),
    ];
    let mut answer = StatusCode::OK.into_response();
    for (name, value) in headers {
        match HeaderValue::from_str(&value) {
            Ok(value) => drop(answer.headers_mut().insert(HeaderName::from_static(name), value)),
            // A Leasehold issuer makes no such token. Half of an answer could be taken for the whole.
            Err(_) => return no(&Refused::Malformed("it says something that cannot stand in a header")),
        }
    }
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// The token is not good, or not for this.
pub(super) fn no(refused: &Refused) -> Response {
    told(StatusCode::from_u16(refused.status()).unwrap_or(StatusCode::UNAUTHORIZED), &refused.www_authenticate())
}

/// There is no token: nothing is said of errors then.
pub(super) fn nothing_shown() -> Response {
    told(StatusCode::UNAUTHORIZED, "Bearer")
}

/// The request is no question. 401 and not 400: a proxy takes anything else for a failure of ours.
pub(super) fn unclear(why: &'static str) -> Response {
    told(StatusCode::UNAUTHORIZED, &format!("Bearer error=\"invalid_request\", error_description=\"{why}\""))
}

/// Whoever asks may not.
pub(super) fn stranger() -> Response {
    StatusCode::FORBIDDEN.into_response()
}

fn told(status: StatusCode, www_authenticate: &str) -> Response {
    let value = HeaderValue::from_str(www_authenticate).unwrap_or(HeaderValue::from_static("Bearer"));
    let headers = [(header::WWW_AUTHENTICATE, value), (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (status, headers).into_response()
}

/// JSON in ASCII (RFC 8259 section 7).
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for unit in json.encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte @ 0x20..0x7f) => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\u{unit:04x}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_in_a_header_is_ascii() {
        let text = ascii("{\"city\":\"Köln 🚲\u{7f}\"}");
        assert_eq!(text, "{\"city\":\"K\\u00f6ln \\ud83d\\udeb2\\u007f\"}");
        let back: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(back["city"], "Köln 🚲\u{7f}");
    }

    #[test]
    fn a_no_is_what_the_standard_says() {
        let answer = no(&Refused::ScopeMissing { scope: "payments:write".into() });
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
        let said = answer.headers()[header::WWW_AUTHENTICATE].to_str().unwrap();
        assert!(said.starts_with("Bearer error=\"insufficient_scope\"") && said.contains("payments:write"), "{said}");
        assert_eq!(nothing_shown().headers()[header::WWW_AUTHENTICATE], "Bearer");
    }
}
