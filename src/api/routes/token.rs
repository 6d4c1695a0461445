//! `/v1/token`: the issuer's keys, and what it publishes.

use axum::extract::{Request, State};
use axum::{Extension, Json};
use leasehold_client::wire::{CloudDocuments, IssuerDocuments, RotateKeyRequest, TokenKeyList};

use super::Api;
use crate::api::problem::Problem;
use crate::api::{body, wire};
use crate::domain::caller::Caller;
use crate::lease::RequestId;
use crate::token::Purpose;

/// Makes other keys.
pub(super) async fn rotate_key(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
    request: Request,
) -> Result<Json<TokenKeyList>, Problem> {
    let asked: RotateKeyRequest = body::optional(request, &api.body).await?;
    let (only, emergency) = (only(&asked)?, asked.emergency.unwrap_or(false));
    let keys = api.broker.rotate_token_keys(&caller, &request_id, only, emergency).await?;
    Ok(Json(wire::keys(keys)))
}

/// Which keys are meant; `None`: all that are in use.
fn only(asked: &RotateKeyRequest) -> Result<Option<Purpose>, Problem> {
    match (&asked.algorithm, asked.cloud.unwrap_or(false)) {
        (None, false) => Ok(None),
        (None, true) => Ok(Some(Purpose::Clouds)),
        (Some(_), true) => {
            Err(Problem::bad("algorithm", "is of workloads' tokens: what clouds are told is signed by RS256 always"))
        }
        (Some(name), false) => match crate::token::algorithm(name) {
            Some(algorithm) => Ok(Some(Purpose::Tokens(algorithm))),
            None => Err(Problem::bad("algorithm", "must be ES256, EdDSA or RS256")),
        },
    }
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
    // There are none where nothing is asserted to a cloud.
    let cloud = match api.broker.public_document("/cloud/jwks") {
        Some(_) => Some(CloudDocuments {
            discovery: read("/cloud/.well-known/openid-configuration")?,
            jwks: read("/cloud/jwks")?,
        }),
        None => None,
    };
    Ok(Json(IssuerDocuments { discovery, jwks: read("/oauth2/jwks")?, cloud }))
}
