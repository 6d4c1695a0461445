//! What can be asked of the agent.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use bytes::Bytes;
use leasehold_client::Held;
use leasehold_client::wire::{AckRequest, Problem};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::agent::acks::Speaker;
use crate::agent::supply::{Supplies, Supply};
use crate::agent::{forms, metrics};
use crate::telemetry::metrics::CONTENT_TYPE;

/// Largest body of a request, in bytes.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// Longest that a request may wait for a change.
const WAIT_MAX: Duration = Duration::from_secs(60);

pub(super) fn router(supplies: Arc<Supplies>) -> Router {
    Router::new()
        .route("/v1/credentials/{name}", get(credential))
        .route("/v1/credentials/{name}/ack", post(ack))
        .route("/v1/status", get(status))
        .route("/healthz", get(health))
        .route("/metrics", get(show_metrics))
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "there is nothing of this path") })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(supplies)
}

/// `?after=GENERATION&wait=30s`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default)]
    after: u64,
    wait: Option<String>,
}

async fn credential(
    State(supplies): State<Arc<Supplies>>,
    Path(name): Path<String>,
    asked: Result<Query<Asked>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let Ok(Query(Asked { after, wait })) = asked else {
        return problem(StatusCode::BAD_REQUEST, "only after=GENERATION and wait=30s can be asked");
    };
    let Some(supply) = supplies.of(&name) else { return unknown(&name) };
    let wait = match wait.as_deref().map(humantime::parse_duration).transpose() {
        Ok(wait) => wait.unwrap_or_default().min(WAIT_MAX),
        Err(_) => return problem(StatusCode::BAD_REQUEST, "wait must be a duration such as 30s"),
    };
    // Whoever knows of a later one than there is has heard it of an agent before this one, which counts from the beginning.
    let present = supply.credentials.current().map_or(0, |held| held.generation);
    let after = if after > present { 0 } else { after };
    let changed = tokio::time::timeout(wait, supply.credentials.changed(after)).await.ok();
    match changed.or_else(|| supply.credentials.current()) {
        Some(held) => supplied(&held),
        None => not_yet(supply),
    }
}

fn supplied(held: &Held) -> Response {
    let written = forms::open(&held.credential)
        .and_then(|opened| forms::supplied_json(held.generation, held.lease.as_ref(), &opened));
    match written {
        Ok(text) => secret_json(text),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error:#}")),
    }
}

/// JSON with a secret in it: nobody keeps it, and its bytes are wiped when they have been sent.
pub(super) fn secret_json(text: Zeroizing<String>) -> Response {
    let body = Body::from(Bytes::from_owner(Wiped(text)));
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (headers, body).into_response()
}

/// Owns text that is sent.
struct Wiped(Zeroizing<String>);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

async fn ack(
    State(supplies): State<Arc<Supplies>>,
    Extension(speaker): Extension<Speaker>,
    Path(name): Path<String>,
    said: Result<Json<AckRequest>, axum::extract::rejection::JsonRejection>,
) -> Response {
    let Ok(Json(AckRequest { consumer, generation })) = said else {
        return problem(StatusCode::BAD_REQUEST, "{\"consumer\": \"…\", \"generation\": n} is needed");
    };
    let Some(supply) = supplies.of(&name) else { return unknown(&name) };
    match supply.acks.take(&consumer, speaker, generation, &supply.credentials) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(unheard) => {
            let consumer = consumer.escape_debug();
            tracing::warn!(credential = %name, %consumer, ?speaker, %unheard, "an acknowledgement is not heard");
            problem(StatusCode::FORBIDDEN, &format!("{name}: {unheard}"))
        }
    }
}

async fn status(State(supplies): State<Arc<Supplies>>) -> Response {
    Json(supplies.status()).into_response()
}

async fn health(State(supplies): State<Arc<Supplies>>) -> Response {
    let status = supplies.status();
    let ill: Vec<_> = status.credentials.iter().filter(|(_, one)| one.alarm).map(|(name, _)| name.as_str()).collect();
    if ill.is_empty() {
        return (StatusCode::OK, "ok\n").into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("near their end or not there: {}\n", ill.join(", "))).into_response()
}

async fn show_metrics(State(supplies): State<Arc<Supplies>>) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], metrics::page(&supplies)).into_response()
}

fn unknown(name: &str) -> Response {
    problem(StatusCode::NOT_FOUND, &format!("this agent keeps no credential {name:?}"))
}

fn not_yet(supply: &Supply) -> Response {
    let why = supply.credentials.health().last_error.unwrap_or_else(|| "it is being fetched".to_owned());
    let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, &format!("there is no credential yet: {why}"));
    response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
    response
}

pub(super) fn problem(status: StatusCode, detail: &str) -> Response {
    let problem = Problem {
        kind: "about:blank".into(),
        title: status.canonical_reason().unwrap_or_default().to_owned(),
        status: status.as_u16(),
        detail: detail.to_owned(),
        request_id: String::new(),
        decision_id: None,
        limit: None,
        retry_after: None,
    };
    (status, [(header::CONTENT_TYPE, "application/problem+json")], Json(problem)).into_response()
}
