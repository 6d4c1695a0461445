//! `POST /v1/reconcile`.

use axum::extract::{Request, State};
use axum::{Extension, Json};
use leasehold_client::wire;

use super::Api;
use crate::api::body;
use crate::api::problem::Problem;
use crate::domain::caller::Caller;
use crate::lease::{ReconcileAsk, RequestId, StrayOrder, TargetReport};

/// Runs a pass of the reconciler now; answers when it is done.
pub(super) async fn reconcile(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
    request: Request,
) -> Result<Json<wire::ReconcileResponse>, Problem> {
    let asked: wire::ReconcileRequest = body::optional(request, &api.body).await?;
    let strays = asked.strays.map(|order| match order {
        wire::StrayOrder::Adopt => StrayOrder::Adopt,
        wire::StrayOrder::Revoke => StrayOrder::Revoke,
    });
    let ask = ReconcileAsk { target: asked.target, dry_run: asked.dry_run.unwrap_or(false), strays };
    let report = api.broker.reconcile(&caller, &request_id, ask).await?;
    Ok(Json(wire::ReconcileResponse { targets: report.targets.into_iter().map(target).collect() }))
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
