//! `POST /v1/decisions`.

use axum::extract::{Request, State};
use axum::{Extension, Json};
use leasehold_client::wire::{DecisionRequest, DecisionResponse};
use leasehold_identity::SpiffeId;

use super::Api;
use crate::api::body;
use crate::api::problem::Problem;
use crate::domain::caller::Caller;
use crate::domain::grant::Action;
use crate::lease::{DecisionAsk, RequestId};

/// Would this be allowed, by which grant, and if not why.
pub(super) async fn decide(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
    request: Request,
) -> Result<Json<DecisionResponse>, Problem> {
    let asked: DecisionRequest = body::required(request, &api.body).await?;
    let action = Action::parse(&asked.action).ok_or_else(|| {
        let words: Vec<_> = Action::ALL.iter().map(|a| a.as_str()).collect();
        Problem::bad("action", format!("must be one of {}", words.join(", ")))
    })?;
    let id = |key: &'static str, text: Option<String>| {
        text.map(|id| SpiffeId::parse(&id).map_err(|e| Problem::bad(key, e))).transpose()
    };
    let ask = DecisionAsk {
        identity: id("identity", asked.identity)?,
        action,
        role: asked.role,
        params: asked.params.unwrap_or_default(),
        subject: id("subject", asked.subject)?,
    };
    let decided = api.broker.decide(&caller, &request_id, ask).await?;
    Ok(Json(DecisionResponse {
        allowed: decided.allowed,
        grant: decided.grant,
        reason: decided.reason,
        decision_id: decided.decision_id,
    }))
}
