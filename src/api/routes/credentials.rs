//! `POST /v1/credentials/{role}`.

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use leasehold_client::wire::MintRequest;

use super::Api;
use crate::api::delivery::{CredentialBody, Deliveries};
use crate::api::problem::Problem;
use crate::api::{body, wire};
use crate::domain::caller::Caller;
use crate::lease::{MintAsk, RequestId};

/// Makes a credential and hands it out, once.
pub(super) async fn mint(
    State(api): State<Api>,
    Path(role): Path<String>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
    Extension(connection): Extension<Deliveries>,
    request: Request,
) -> Result<Response, Problem> {
    let asked: MintRequest = body::optional(request, &api.body).await?;
    let params = asked.params.unwrap_or_default();
    if params.len() > api.params_max {
        return Err(Problem::more_than("params", "params_per_request_max", api.params_max));
    }
    let ask = MintAsk {
        role,
        ttl: body::duration("ttl", asked.ttl)?,
        params,
        scope: asked.scope,
        behalf: None,
        replaces: asked.replaces.map(|id| body::lease_id("replaces", &id)).transpose()?,
    };
    let issued = api.broker.mint(&caller, &request_id, ask).await?;
    let bytes = wire::issued(issued.lease.map(wire::lease), &issued.credential, issued.expires_at)
        .map_err(|_| Problem::internal())?;
    let body = CredentialBody::new(bytes, issued.delivery, connection);
    Response::builder()
        .status(StatusCode::CREATED)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::new(body))
        .map_err(|_| Problem::internal())
}
