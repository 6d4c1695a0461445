//! Problem documents (RFC 9457): the one place that turns what went wrong into a status and words for a caller.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use leasehold_client::wire;

use crate::lease::Failure;

/// An answer from 400 on. The request id is put in by the outermost layer, which also logs it.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: String,
    decision_id: Option<String>,
    limit: Option<&'static str>,
    retry_after: Option<Duration>,
    /// The connection is of no use any more.
    close: bool,
    allow: Option<&'static str>,
}

impl Problem {
    fn new(status: StatusCode, kind: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self {
            status,
            kind,
            title,
            detail,
            decision_id: None,
            limit: None,
            retry_after: None,
            close: false,
            allow: None,
        }
    }

    /// 400: the request cannot be understood, or asks for what is out of range.
    pub(super) fn bad(what: &str, why: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", "Bad request", format!("{what}: {why}"))
    }

    /// 401: the SVID of a kept connection stopped being good.
    pub(super) fn unauthenticated(why: &str) -> Self {
        let detail = format!("{why}; connect again with a good SVID");
        let mut problem = Self::new(StatusCode::UNAUTHORIZED, "svid-not-good", "SVID not good any more", detail);
        problem.close = true;
        problem
    }

    /// 403: somebody else than root on the break-glass socket.
    pub(super) fn not_root(uid: Option<u32>) -> Self {
        let who = uid.map_or_else(String::new, |uid| format!(", and you are uid {uid}"));
        let detail = format!("the break-glass socket is for root on the broker's host{who}");
        let mut problem = Self::new(StatusCode::FORBIDDEN, "not-root", "Not root", detail);
        problem.close = true;
        problem
    }

    /// 404 for a path that leads nowhere.
    pub(super) fn no_such_path() -> Self {
        let detail = "there is nothing here; /v1/openapi.json lists every call";
        Self::new(StatusCode::NOT_FOUND, "no-such-path", "No such path", detail)
    }

    /// 404: no tokens are issued here.
    pub(super) fn no_issuer() -> Self {
        let detail = "no tokens are issued: the configuration has no [token] with an issuer, or there is no key yet";
        Self::new(StatusCode::NOT_FOUND, "no-issuer", "No issuer", detail)
    }

    /// 405.
    pub(super) fn method_not_allowed(allow: &'static str) -> Self {
        let detail = format!("this path takes {allow}");
        let mut problem = Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed", detail);
        problem.allow = Some(allow);
        problem
    }

    /// 413.
    pub(super) fn too_large(body_bytes_max: usize) -> Self {
        let detail = format!("the body is larger than body_bytes_max = {body_bytes_max}");
        let mut problem = Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Body too large", detail);
        problem.limit = Some("body_bytes_max");
        problem.close = true;
        problem
    }

    /// 400: the body broke off, or its chunks are none. Where the next request would begin is not known.
    pub(super) fn broken_body() -> Self {
        let mut problem = Self::bad("body", "it cannot be read to its end");
        problem.close = true;
        problem
    }

    /// 400: more of something than may be asked for at once.
    pub(super) fn more_than(what: &str, limit: &'static str, max: usize) -> Self {
        let mut problem = Self::bad(what, format!("more than {limit} = {max}"));
        problem.limit = Some(limit);
        problem
    }

    /// Its status.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// What happened, in words.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// When to come again.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The limit that was hit, by its name.
    pub(super) fn limit(&self) -> Option<&'static str> {
        self.limit
    }

    /// 415.
    pub(super) fn not_json() -> Self {
        let detail = "a body must come with content-type: application/json";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-json", "Not JSON", detail)
    }

    /// 503: too many requests are under way.
    pub(super) fn overloaded(limit: &'static str) -> Self {
        let detail = format!("{limit} is reached; come again in a moment");
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "Broker busy", detail);
        problem.limit = Some(limit);
        problem.retry_after = Some(Duration::from_secs(1));
        problem
    }

    /// 429: this identity has too much under way.
    pub(super) fn too_many(limit: &'static str) -> Self {
        let detail = format!("{limit} is reached: you have that many requests under way");
        let mut problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "limit", "Limit reached", detail);
        problem.limit = Some(limit);
        problem.retry_after = Some(Duration::from_secs(1));
        problem
    }

    /// 408: the body did not come in time.
    pub(super) fn too_slow(limit: &'static str) -> Self {
        let detail = format!("the request did not arrive whole within {limit}");
        let mut problem = Self::new(StatusCode::REQUEST_TIMEOUT, "too-slow", "Request too slow", detail);
        problem.limit = Some(limit);
        problem.close = true;
        problem
    }

    /// 500.
    pub(super) fn internal() -> Self {
        let detail = "the broker failed inside; its log has more under this request id";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal failure", detail)
    }

    /// The document, with the id of its request.
    pub(super) fn respond(self, request_id: &str) -> Response {
        let retry_after = self.retry_after.map(|d| d.as_secs().max(1));
        let document = wire::Problem {
            kind: format!("urn:leasehold:problem:{}", self.kind),
            title: self.title.to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
            request_id: request_id.to_owned(),
            decision_id: self.decision_id,
            limit: self.limit.map(str::to_owned),
            retry_after,
        };
        let mut response = (self.status, Json(document)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(allow) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        response
    }
}

/// The outermost layer writes the document: until there, a problem travels as an extension of an empty answer.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Problem> for Response {
    fn from(problem: Problem) -> Self {
        problem.into_response()
    }
}

/// What a caller is told. Where store and collectors are, and what they say, is for whoever runs the broker.
fn told(failure: &Failure) -> String {
    let to_callers = match failure {
        Failure::AuditAway { .. } => "the audit log takes no lines, and nothing is handed out without",
        Failure::StoreAway { .. } => "the store is not available",
        other => return other.to_string(),
    };
    tracing::warn!(why = %failure, "a request was refused");
    format!("{to_callers}; the broker's log says why")
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        use StatusCode as S;
        let detail = told(&failure);
        let mut problem = match &failure {
            Failure::Denied { .. } => Self::new(S::FORBIDDEN, "no-grant", "No grant", detail),
            Failure::NotFound => Self::new(S::NOT_FOUND, "not-found", "Not found", detail),
            Failure::Bad { .. } => Self::new(S::BAD_REQUEST, "bad-request", "Bad request", detail),
            Failure::WrongState { .. } => Self::new(S::CONFLICT, "wrong-state", "Lease in another state", detail),
            Failure::NotAsExpected { .. } => Self::new(S::CONFLICT, "not-as-expected", "Not as expected", detail),
            Failure::StillAlive { .. } => Self::new(S::CONFLICT, "still-alive", "Cluster still alive", detail),
            Failure::Limit { .. } => Self::new(S::TOO_MANY_REQUESTS, "limit", "Limit reached", detail),
            Failure::Busy { .. } => Self::new(S::SERVICE_UNAVAILABLE, "busy", "Broker busy", detail),
            Failure::TargetAway { .. } => {
                Self::new(S::SERVICE_UNAVAILABLE, "target-away", "Target not available", detail)
            }
            Failure::TargetRefused { .. } => Self::new(S::BAD_GATEWAY, "target-refused", "Target refused", detail),
            Failure::StoreAway { .. } => Self::new(S::SERVICE_UNAVAILABLE, "store-away", "Store not available", detail),
            Failure::AuditAway { .. } => Self::new(S::SERVICE_UNAVAILABLE, "audit-away", "Audit not available", detail),
            Failure::ClockOff { .. } => Self::new(S::SERVICE_UNAVAILABLE, "clock-off", "Clock off", detail),
        };
        problem.retry_after = retry_after(&failure);
        match failure {
            Failure::Denied { decision_id, .. } => problem.decision_id = Some(decision_id),
            Failure::Limit { limit, .. } => problem.limit = Some(limit),
            Failure::Busy { limit, .. } => problem.limit = limit,
            _ => {}
        }
        problem
    }
}

/// Every 429, 502 and 503 says when to come again.
fn retry_after(failure: &Failure) -> Option<Duration> {
    match failure {
        Failure::Limit { retry_after, .. }
        | Failure::Busy { retry_after, .. }
        | Failure::TargetAway { retry_after, .. } => Some(*retry_after),
        Failure::TargetRefused { .. } => Some(Duration::from_secs(60)),
        Failure::StoreAway { .. } | Failure::AuditAway { .. } | Failure::ClockOff { .. } => {
            Some(Duration::from_secs(5))
        }
        Failure::Denied { .. }
        | Failure::NotFound
        | Failure::Bad { .. }
        | Failure::WrongState { .. }
        | Failure::StillAlive { .. }
        | Failure::NotAsExpected { .. } => None,
    }
}

/// Marks an answer whose words another standard sets.
#[derive(Debug, Clone, Copy)]
pub(super) struct OthersWords;

/// What the router itself refuses (a path that does not decode, a method) gets a problem document like all else.
pub(super) async fn in_our_words(response: Response) -> Response {
    let said = |extensions: &axum::http::Extensions| {
        extensions.get::<Problem>().is_some() || extensions.get::<OthersWords>().is_some()
    };
    if !response.status().is_client_error() || said(response.extensions()) {
        return response;
    }
    match response.status() {
        StatusCode::NOT_FOUND => Problem::no_such_path().into(),
        status => Problem::new(status, "bad-request", "Bad request", "the request cannot be understood").into(),
    }
}
