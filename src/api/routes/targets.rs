//! `/v1/targets`.

use axum::extract::{Path, State};
use axum::{Extension, Json};
use leasehold_client::wire::ForgetResponse;

use super::Api;
use crate::api::problem::Problem;
use crate::domain::caller::Caller;
use crate::lease::RequestId;

/// Closes the leases of a target that is gone for good, without ending them there.
pub(super) async fn forget(
    State(api): State<Api>,
    Path(target): Path<String>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
) -> Result<Json<ForgetResponse>, Problem> {
    let forgotten = api.broker.forget_target(&caller, &request_id, &target).await?;
    Ok(Json(ForgetResponse { closed: forgotten.closed }))
}
