//! Errors as OAuth 2.0 has them (RFC 6749 section 5.2).

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::api::problem::{OthersWords, Problem};
use crate::lease::{Failure, TokenRefused};

/// An error of a token request.
#[derive(Debug)]
pub(in crate::api::routes) struct Refusal {
    status: StatusCode,
    error: &'static str,
    description: String,
    retry_after: Option<Duration>,
}

impl Refusal {
    fn new(error: &'static str, description: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error, description: description.into(), retry_after: None }
    }

    /// The request itself is wrong.
    pub(super) fn request(why: impl Into<String>) -> Self {
        Self::new("invalid_request", why)
    }

    /// The client says that it is somebody else than its certificate says, or another way of proving who it is.
    pub(super) fn client(why: impl Into<String>) -> Self {
        Self { status: StatusCode::UNAUTHORIZED, ..Self::new("invalid_client", why) }
    }

    /// There is no such flow here.
    pub(super) fn grant_type(given: &str) -> Self {
        let given: String = given.chars().take(80).collect();
        let why =
            format!("{given:?} is neither client_credentials nor urn:ietf:params:oauth:grant-type:token-exchange");
        Self::new("unsupported_grant_type", why)
    }

    /// RFC 8707 section 2.
    pub(super) fn target(why: impl Into<String>) -> Self {
        Self::new("invalid_target", why)
    }
}

impl From<TokenRefused> for Refusal {
    fn from(refused: TokenRefused) -> Self {
        let words = refused.to_string();
        match refused {
            TokenRefused::Target { .. } => Self::target(words),
            TokenRefused::Scope(_) => Self::new("invalid_scope", words),
            TokenRefused::Request(_) => Self::request(words),
            TokenRefused::Subject => Self::new("invalid_grant", words),
            TokenRefused::CannotEnd => Self::new("unsupported_token_type", words),
            TokenRefused::NotYours => Self::new("unauthorized_client", words),
            TokenRefused::Failure(failure) => failed(failure),
        }
    }
}

/// What the broker could not do, in the words of its other callers.
fn failed(failure: Failure) -> Refusal {
    let denied = matches!(failure, Failure::Denied { .. });
    let problem = Problem::from(failure);
    let error = match problem.status() {
        _ if denied => "unauthorized_client",
        status if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => "invalid_request",
        _ => "temporarily_unavailable",
    };
    let status = if problem.status() == StatusCode::FORBIDDEN { StatusCode::BAD_REQUEST } else { problem.status() };
    Refusal { status, error, description: problem.detail().to_owned(), retry_after: problem.retry_after() }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        let error = if problem.status().is_server_error() { "temporarily_unavailable" } else { "invalid_request" };
        Self {
            status: problem.status(),
            error,
            description: problem.detail().to_owned(),
            retry_after: problem.retry_after(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        // RFC 6749 section 5.2: printable ASCII without \" and \\.
        let plain = |c: char| {
            if c == '"' || c == '\\' {
                '\''
            } else if c == ' ' || c.is_ascii_graphic() {
                c
            } else {
                '?'
            }
        };
        let description: String = self.description.chars().map(plain).collect();
        let mut response =
            (self.status, Json(json!({ "error": self.error, "error_description": description }))).into_response();
        if let Some(time) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(time.as_secs().max(1)));
        }
        response.extensions_mut().insert(OthersWords);
        response
    }
}
