//! `GET /v1/roles`.

use axum::extract::State;
use axum::{Extension, Json};
use leasehold_client::wire::RoleList;

use super::Api;
use crate::api::wire;
use crate::domain::caller::Caller;

/// The roles that the caller may mint.
pub(super) async fn list(State(api): State<Api>, Extension(caller): Extension<Caller>) -> Json<RoleList> {
    Json(RoleList { roles: api.broker.roles(&caller).iter().map(|role| wire::role(role)).collect() })
}
