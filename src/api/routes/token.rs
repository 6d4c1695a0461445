//! `/v1/token`: the issuer's keys, and what it publishes.

use axum::extract::{Request, State};
use axum::{Extension, Json};
use leasehold_client::wire::{IssuerDocuments, RotateKeyRequest, TokenKeyList};

use super::Api;
use crate::api::problem::Problem;
use crate::api::{body, wire};
use crate::domain::caller::Caller;
use crate::lease::RequestId;

/// Makes other keys.
pub(super) async fn rotate_key(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
    request: Request,
) -> Result<Json<TokenKeyList>, Problem> {
    let asked: RotateKeyRequest = body::optional(request, &api.body).await?;
    let algorithm = asked.algorithm.map(|name| {
        crate::token::algorithm(&name).ok_or_else(|| Problem::bad("algorithm", "must be ES256, EdDSA or RS256"))
    });
    let emergency = asked.emergency.unwrap_or(false);
    let keys = api.broker.rotate_token_keys(&caller, &request_id, algorithm.transpose()?, emergency).await?;
    Ok(Json(wire::keys(keys)))
}

/// The keys there are.
pub(super) async fn keys(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
) -> Result<Json<TokenKeyList>, Problem> {
    Ok(Json(wire::keys(api.broker.token_keys(&caller, &request_id).await?)))
}

/// What verifiers read on the public listener.
pub(super) async fn discovery(State(api): State<Api>) -> Result<Json<IssuerDocuments>, Problem> {
    let read = |path| {
        let found = api.broker.public_document(path).ok_or_else(Problem::no_issuer)?;
        serde_json::from_str(&found.body).map_err(|_| Problem::internal())
    };
    let discovery = read("/.well-known/openid-configuration")?;
    Ok(Json(IssuerDocuments { discovery, jwks: read("/oauth2/jwks")? }))
}
