//! Health and metrics: plain HTTP for the machine's own agents. Nothing here names an identity or holds a secret.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use leasehold_identity::Identity;
use serde_json::json;

use crate::lease::Broker;
use crate::telemetry::metrics::{self, Metrics};

/// What the ops listener shows.
#[derive(Clone)]
pub(super) struct Ops {
    pub broker: Arc<Broker>,
    pub identity: Arc<Identity>,
    pub metrics: Arc<Metrics>,
}

pub(super) fn router(ops: Ops) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(show_metrics))
        .with_state(ops)
}

/// 200 when store and audit can be written, the own SVID and bundle are good and the clock is; targets are shown and never
/// count: a broker with a target that is down is as ready as it can be.
async fn ready(State(ops): State<Ops>) -> Response {
    let readiness = ops.broker.readiness().await;
    let identity = ops.identity.status();
    let mut problems: serde_json::Map<_, _> =
        readiness.problems.into_iter().map(|(part, why)| (part.to_owned(), json!(why))).collect();
    if !identity.svid_ok {
        let why = identity.svid_problem.unwrap_or_else(|| "it is not good".to_owned());
        problems.insert("svid".into(), json!(format!("the broker's own SVID: {why}")));
    }
    if let Some(own) = identity.domains.iter().find(|d| &d.trust_domain == identity.spiffe_id.trust_domain())
        && own.authorities == 0
    {
        problems
            .insert("bundle".into(), json!("the bundle of the broker's own trust domain holds no usable authority"));
    }
    let targets: serde_json::Map<_, _> = readiness
        .targets
        .into_iter()
        .map(|(name, trouble)| (name, json!(trouble.unwrap_or_else(|| "ok".to_owned()))))
        .collect();
    let ready = problems.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": ready, "problems": problems, "targets": targets }))).into_response()
}

async fn show_metrics(State(ops): State<Ops>) -> Response {
    let identity = ops.identity.status();
    ops.metrics.svid_not_after(identity.svid_not_after_unix_ms);
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], ops.metrics.encode()).into_response()
}
