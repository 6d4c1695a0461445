//! Reading requests: bounded, strict, with words for what is wrong.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// Time for a body to arrive: it is small.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);

/// The JSON body; what is absent or empty reads as the default.
pub(super) async fn optional<T: DeserializeOwned + Default>(request: Request, bytes_max: usize) -> Result<T, Problem> {
    read(request, bytes_max).await.map(Option::unwrap_or_default)
}

/// The JSON body, which must be there.
pub(super) async fn required<T: DeserializeOwned>(request: Request, bytes_max: usize) -> Result<T, Problem> {
    read(request, bytes_max).await?.ok_or_else(|| Problem::bad("body", "it must be a JSON object"))
}

async fn read<T: DeserializeOwned>(request: Request, bytes_max: usize) -> Result<Option<T>, Problem> {
    let (parts, body) = request.into_parts();
    let bytes = whole(&parts.headers, body, bytes_max).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    if !is_json(&parts.headers) {
        return Err(Problem::not_json());
    }
    serde_json::from_slice(&bytes).map(Some).map_err(|e| Problem::bad("body", e))
}

async fn whole(headers: &HeaderMap, body: Body, bytes_max: usize) -> Result<bytes::Bytes, Problem> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|n| n > bytes_max) {
        return Err(Problem::too_large(bytes_max));
    }
    match tokio::time::timeout(BODY_TIME_MAX, to_bytes(body, bytes_max)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(Problem::too_large(bytes_max)),
        Err(_) => Err(Problem::too_slow()),
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
