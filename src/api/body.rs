//! Reading requests: bounded, strict, with words for what is wrong.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// How much of a body is read, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyLimits {
    /// `body_bytes_max`.
    pub bytes: usize,
    /// `body_seconds_max`.
    pub time: Duration,
}

/// The JSON body; what is absent or empty reads as the default.
pub(super) async fn optional<T: DeserializeOwned + Default>(
    request: Request,
    limits: &BodyLimits,
) -> Result<T, Problem> {
    read(request, limits).await.map(Option::unwrap_or_default)
}

/// The JSON body, which must be there.
pub(super) async fn required<T: DeserializeOwned>(request: Request, limits: &BodyLimits) -> Result<T, Problem> {
    read(request, limits).await?.ok_or_else(|| Problem::bad("body", "it must be a JSON object"))
}

async fn read<T: DeserializeOwned>(request: Request, limits: &BodyLimits) -> Result<Option<T>, Problem> {
    let (parts, body) = request.into_parts();
    let bytes = whole(&parts.headers, body, limits).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    if !is_json(&parts.headers) {
        return Err(Problem::not_json());
    }
    // A list would be taken for an object's members in their order.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::bad("body", "it must be a JSON object"));
    }
    serde_json::from_slice(&bytes).map(Some).map_err(|e| Problem::bad("body", e))
}

pub(super) async fn whole(headers: &HeaderMap, body: Body, limits: &BodyLimits) -> Result<bytes::Bytes, Problem> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|n| usize::try_from(n).map_or(true, |n| n > limits.bytes)) {
        return Err(Problem::too_large(limits.bytes));
    }
    match tokio::time::timeout(limits.time, Limited::new(body, limits.bytes).collect()).await {
        Ok(Ok(all)) => Ok(all.to_bytes()),
        Ok(Err(e)) if e.is::<LengthLimitError>() => Err(Problem::too_large(limits.bytes)),
        Ok(Err(_)) => Err(Problem::broken_body()),
        Err(_) => Err(Problem::too_slow("body_seconds_max")),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()) else { return false };
    value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// A duration such as `15m`.
pub(super) fn duration(key: &str, text: Option<String>) -> Result<Option<Duration>, Problem> {
    let parse = |t: String| {
        humantime::parse_duration(&t)
            .map_err(|e| Problem::bad(key, format!("{t:?} is not a duration such as 90s, 15m or 1h30m: {e}")))
    };
    text.map(parse).transpose()
}

/// A lease id.
pub(super) fn lease_id(key: &str, text: &str) -> Result<leasehold_sdk::LeaseId, Problem> {
    text.parse().map_err(|e| Problem::bad(key, e))
}
