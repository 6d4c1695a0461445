//! `/v1/blocks`.

use axum::extract::{Request, State};
use axum::{Extension, Json};
use leasehold_client::wire::{BlockEntry, BlockList, BlockRequest, BlockResponse};
use leasehold_identity::SpiffeId;

use super::Api;
use crate::api::body;
use crate::api::problem::Problem;
use crate::domain::caller::Caller;
use crate::lease::RequestId;

/// Longest reason.
const REASON_CHARS_MAX: usize = 200;

/// All blocks.
pub(super) async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
) -> Result<Json<BlockList>, Problem> {
    let blocks = api.broker.blocks(&caller, &request_id).await?.into_iter().map(|block| BlockEntry {
        identity: block.identity.to_string(),
        at: block.at.to_string(),
        by: block.by_whom,
        reason: block.reason,
    });
    Ok(Json(BlockList { blocks: blocks.collect() }))
}

/// Refuses an identity everything from now on.
pub(super) async fn block(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
    request: Request,
) -> Result<Json<BlockResponse>, Problem> {
    let asked: BlockRequest = body::required(request, &api.body).await?;
    let identity = identity(&asked)?;
    if asked.reason.as_ref().is_some_and(|reason| reason.chars().count() > REASON_CHARS_MAX) {
        return Err(Problem::bad("reason", format!("must be of at most {REASON_CHARS_MAX} characters")));
    }
    let changed = api.broker.block(&caller, &request_id, identity, asked.reason).await?;
    Ok(Json(BlockResponse { identity: asked.identity, blocked: true, changed }))
}

/// Lifts a block.
pub(super) async fn unblock(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
    request: Request,
) -> Result<Json<BlockResponse>, Problem> {
    let asked: BlockRequest = body::required(request, &api.body).await?;
    let identity = identity(&asked)?;
    let changed = api.broker.unblock(&caller, &request_id, identity).await?;
    Ok(Json(BlockResponse { identity: asked.identity, blocked: false, changed }))
}

fn identity(asked: &BlockRequest) -> Result<SpiffeId, Problem> {
    SpiffeId::parse(&asked.identity).map_err(|e| Problem::bad("identity", e))
}
