//! `POST /v1/reconcile`.

use axum::extract::{Request, State};
use axum::{Extension, Json};
use leasehold_client::wire;

use super::Api;
use crate::api::body;
use crate::api::problem::Problem;
use crate::domain::caller::Caller;
use crate::lease::{ReconcileAsk, RequestId, StrayOrder, TakeoverAsk, TargetReport};

/// Runs a pass of the reconciler now; answers when it is done.
pub(super) async fn reconcile(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
    request: Request,
) -> Result<Json<wire::ReconcileResponse>, Problem> {
    let asked: wire::ReconcileRequest = body::optional(request, &api.body).await?;
    let report = match asked.cluster {
        Some(_) => api.broker.take_over(&caller, &request_id, takeover(asked)?).await?,
        None => api.broker.reconcile(&caller, &request_id, pass(asked)?).await?,
    };
    Ok(Json(wire::ReconcileResponse {
        matched: report.taken.map(|taken| taken.matched),
        left: report.taken.map(|taken| taken.left),
        targets: report.targets.into_iter().map(target).collect(),
    }))
}

fn pass(asked: wire::ReconcileRequest) -> Result<ReconcileAsk, Problem> {
    if asked.tag.is_some() || asked.takeover.is_some() || asked.expect.is_some() {
        return Err(Problem::bad("body", "tag, takeover and expect go with cluster"));
    }
    let strays = asked.strays.map(|order| match order {
        wire::StrayOrder::Adopt => StrayOrder::Adopt,
        wire::StrayOrder::Revoke => StrayOrder::Revoke,
    });
    Ok(ReconcileAsk { target: asked.target, dry_run: asked.dry_run.unwrap_or(false), strays })
}

fn takeover(asked: wire::ReconcileRequest) -> Result<TakeoverAsk, Problem> {
    if asked.strays.is_some() {
        return Err(Problem::bad("strays", "does not go with cluster: what another cluster left can only be ended"));
    }
    let dry_run = asked.dry_run.unwrap_or(false) || !asked.takeover.unwrap_or(false);
    let cluster = asked.cluster.unwrap_or_default().parse().map_err(|e| Problem::bad("cluster", e))?;
    let tag = asked.tag.map(|tag| tag.parse()).transpose().map_err(|e| Problem::bad("tag", e))?;
    Ok(TakeoverAsk { cluster, tag, target: asked.target, dry_run, expect: asked.expect })
}

fn target(report: TargetReport) -> wire::TargetReport {
    let stray = |(account, done, note): (String, &'static str, Option<String>)| wire::Stray {
        account,
        done: done.to_owned(),
        note,
    };
    wire::TargetReport {
        target: report.target,
        strays: report.strays.into_iter().map(stray).collect(),
        vanished: report.vanished.iter().map(ToString::to_string).collect(),
        foreign: report.foreign,
        error: report.error,
    }
}
