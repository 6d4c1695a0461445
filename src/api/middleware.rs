//! What is put around every request: its id, its limits, its line in the log, and words for whatever goes wrong.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, LazyLock};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use leasehold_sdk::{clock, random};
use tokio::sync::Semaphore;
use tracing::Instrument;

use super::problem::Problem;
use crate::lease::RequestId;
use crate::telemetry::metrics::Metrics;

/// Longest request id that is taken from a caller.
const REQUEST_ID_BYTES_MAX: usize = 64;

/// What the layers need.
#[derive(Clone)]
pub(super) struct Around {
    pub metrics: Arc<Metrics>,
    pub under_way: Arc<Semaphore>,
}

/// The outermost layer.
pub(super) async fn around(State(around): State<Around>, mut request: Request, next: Next) -> Response {
    let id = request_id(&request);
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", |p| known(p.as_str()));
    let method = request.method().clone();
    request.extensions_mut().insert(RequestId(id.clone()));
    let span = crate::telemetry::logs::request_span(&id);
    let started = clock::boot();
    let Ok(_permit) = around.under_way.try_acquire() else {
        return finish(&around, Problem::overloaded("requests_at_once_max").into_response(), &id);
    };
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().instrument(span.clone()).await;
    let response = answered.unwrap_or_else(|panic| {
        let why = panic_text(&*panic);
        span.in_scope(|| tracing::error!(route, why, "a request made the broker panic; it lives on"));
        Problem::internal().into_response()
    });
    let took = clock::boot() - started;
    let status = response.status().as_u16();
    around.metrics.request(route, status, took);
    span.in_scope(|| tracing::info!(%method, route, status, ms = took.as_secs_f64() * 1000.0, "request"));
    finish(&around, response, &id)
}

fn finish(around: &Around, mut response: Response, id: &str) -> Response {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        if let Some(limit) = problem.limit() {
            around.metrics.hit(limit);
        }
        response = problem.respond(id);
    }
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(value) = HeaderValue::from_str(id) {
        headers.insert("x-request-id", value);
    }
    response
}

/// The caller's own id where it is short and plain, so that logs on both sides can be put together; else a new one.
fn request_id(request: &Request) -> String {
    let plain = |s: &&str| {
        !s.is_empty()
            && s.len() <= REQUEST_ID_BYTES_MAX
            && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    let given = request.headers().get("x-request-id").and_then(|v| v.to_str().ok());
    let fresh = || format!("r-{}", data_encoding::HEXLOWER.encode(&random::bytes::<8>()));
    given.filter(plain).map_or_else(fresh, str::to_owned)
}

/// The routes are few and fixed: as labels they live as long as the program.
fn known(path: &str) -> &'static str {
    static PATHS: LazyLock<Vec<&'static str>> =
        LazyLock::new(|| super::routes::endpoints().into_iter().map(|e| e.path).collect());
    PATHS.iter().copied().find(|known| *known == path).unwrap_or("unmatched")
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("?")
}
