//! `/v1/seal`.

use axum::extract::State;
use axum::{Extension, Json};
use leasehold_client::wire::RotateSealResponse;

use super::Api;
use crate::api::problem::Problem;
use crate::domain::caller::Caller;
use crate::lease::RequestId;

/// Seals every secret that is kept by the current key.
pub(super) async fn rotate(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
) -> Result<Json<RotateSealResponse>, Problem> {
    let (resealed, unreadable) = api.broker.rotate_seal(&caller, &request_id).await?;
    Ok(Json(RotateSealResponse { resealed, unreadable }))
}
