//! `/v1/targets`.

use axum::extract::{Path, Request, State};
use axum::{Extension, Json};
use leasehold_client::wire::{ForgetResponse, RotateAdminRequest, RotateAdminResponse};

use super::Api;
use crate::api::body;
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

/// Gives its admin login a password that nobody has seen; answers when it is in force.
pub(super) async fn rotate_admin(
    State(api): State<Api>,
    Path(target): Path<String>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
    request: Request,
) -> Result<Json<RotateAdminResponse>, Problem> {
    let asked: RotateAdminRequest = body::optional(request, &api.body).await?;
    let no_recovery = asked.no_recovery.unwrap_or(false);
    let done = api.broker.rotate_admin(&caller, &request_id, &target, no_recovery).await?;
    Ok(Json(RotateAdminResponse { generation: done.generation, recoverable: done.recoverable }))
}
