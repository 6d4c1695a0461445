//! `/v1/leases`: see them, renew them, end them.

use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use leasehold_client::wire::{
    LeaseList, LeaseQuery, LeaseResponse, OrderResponse, RenewRequest, RevokeManyRequest, RevokeManyResponse, Selector,
};
use leasehold_identity::SpiffeId;
use serde::Deserialize;

use super::Api;
use crate::api::problem::Problem;
use crate::api::{body, wire};
use crate::domain::caller::Caller;
use crate::domain::lease::{Lease, State as LeaseState};
use crate::lease::{self, ManyAsk, Matching, RequestId};

/// Leases in a page unless the caller says.
const PAGE_DEFAULT: u32 = 100;

/// The leases that the caller may see, newest first.
pub(super) async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
    query: Result<Query<LeaseQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<LeaseList>, Problem> {
    let Query(asked) = query.map_err(|e| Problem::bad("query", e.body_text()))?;
    let limit = usize::try_from(asked.limit.unwrap_or(PAGE_DEFAULT)).unwrap_or(usize::MAX);
    if limit == 0 || limit > api.page_leases_max {
        return Err(Problem::bad("limit", format!("must be from 1 to {}", api.page_leases_max)));
    }
    let query = lease::Query {
        role: asked.role,
        target: asked.target,
        identity: asked.identity,
        state: asked.state.map(|s| state_of("state", &s)).transpose()?,
        limit,
        before: asked.cursor.map(|id| body::lease_id("cursor", &id)).transpose()?,
    };
    let page = api.broker.leases(&caller, &request_id, query).await?;
    let leases = page.leases.into_iter().map(wire::lease).collect();
    Ok(Json(LeaseList { leases, next_cursor: page.next.map(|id| id.to_string()) }))
}

/// The long poll of one lease.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ShowQuery {
    #[serde(rename = "while")]
    state: Option<String>,
    wait: Option<String>,
}

/// One lease; with `while` and `wait` as soon as it is in another state.
pub(super) async fn show(
    State(api): State<Api>,
    Path(id): Path<String>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
    query: Result<Query<ShowQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<LeaseResponse>, Problem> {
    let Query(asked) = query.map_err(|e| Problem::bad("query", e.body_text()))?;
    let id = body::lease_id("lease id", &id)?;
    let lease = match (asked.state, body::duration("wait", asked.wait)?) {
        (None, None) => api.broker.lease(&caller, &request_id, id).await?,
        (Some(state), Some(wait)) => {
            api.broker.lease_while(&caller, &request_id, id, state_of("while", &state)?, wait).await?
        }
        _ => return Err(Problem::bad("query", "while and wait belong together")),
    };
    Ok(answer(lease))
}

/// Moves a lease's end.
pub(super) async fn renew(
    State(api): State<Api>,
    Path(id): Path<String>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
    request: Request,
) -> Result<Json<LeaseResponse>, Problem> {
    let asked: RenewRequest = body::optional(request, &api.body).await?;
    let (id, ttl) = (body::lease_id("lease id", &id)?, body::duration("ttl", asked.ttl)?);
    Ok(answer(api.broker.renew(&caller, &request_id, id, ttl).await?))
}

/// Ends a lease: 200 when it is dead, 202 while it is being ended.
pub(super) async fn revoke(
    State(api): State<Api>,
    Path(id): Path<String>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
) -> Result<(StatusCode, Json<LeaseResponse>), Problem> {
    let lease = api.broker.revoke(&caller, &request_id, body::lease_id("lease id", &id)?).await?;
    let status = if lease.state.is_live() { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, answer(lease)))
}

/// Ends many leases in one durable order, or counts them.
pub(super) async fn revoke_many(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
    request: Request,
) -> Result<(StatusCode, Json<RevokeManyResponse>), Problem> {
    let asked: RevokeManyRequest = body::required(request, &api.body).await?;
    let matching = match asked.selector().map_err(|e| Problem::bad("body", e))? {
        Selector::Identity(id) => Matching::Identity(SpiffeId::parse(&id).map_err(|e| Problem::bad("identity", e))?),
        Selector::Role(role) => Matching::Role(role),
        Selector::Target(target) => Matching::Target(target),
        Selector::All => Matching::All,
    };
    let dry_run = asked.dry_run.unwrap_or(false);
    let ask = ManyAsk { matching, dry_run, expect: asked.expect, cut: asked.cut.unwrap_or(false) };
    let taken = api.broker.revoke_many(&caller, &request_id, ask).await?;
    let status = if dry_run { StatusCode::OK } else { StatusCode::ACCEPTED };
    let leases = taken.leases.map(|leases| leases.into_iter().map(wire::lease).collect());
    Ok((status, Json(RevokeManyResponse { order: taken.order, matched: taken.matched, leases })))
}

/// How far an order has come.
pub(super) async fn order(
    State(api): State<Api>,
    Path(id): Path<String>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
) -> Result<Json<OrderResponse>, Problem> {
    Ok(Json(wire::order(api.broker.order(&caller, &request_id, &id).await?)))
}

fn answer(lease: Lease) -> Json<LeaseResponse> {
    Json(LeaseResponse { lease: wire::lease(lease) })
}

fn state_of(key: &str, word: &str) -> Result<LeaseState, Problem> {
    LeaseState::parse(word).ok_or_else(|| {
        let words: Vec<_> = LeaseState::ALL.iter().map(|s| s.as_str()).collect();
        Problem::bad(key, format!("must be one of {}", words.join(", ")))
    })
}
