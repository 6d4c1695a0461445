//! `/v1/brokers`.

use axum::extract::State;
use axum::{Extension, Json};
use leasehold_client::wire::{BrokerEntry, BrokerList};

use super::Api;
use crate::api::problem::Problem;
use crate::domain::caller::Caller;
use crate::lease::{Colleague, RequestId};

/// Who works on the store.
pub(super) async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
) -> Result<Json<BrokerList>, Problem> {
    let brokers = api.broker.brokers(&caller, &request_id).await?;
    Ok(Json(BrokerList { brokers: brokers.into_iter().map(entry).collect() }))
}

fn entry(colleague: Colleague) -> BrokerEntry {
    let Colleague { known, alive } = colleague;
    BrokerEntry {
        id: known.presence.id,
        alive,
        host: known.presence.host,
        version: known.presence.version,
        config: known.presence.config_hash,
        claimed: known.claimed,
        chain: known.presence.chain,
        started_at: known.presence.started_at.to_string(),
        seen_at: known.seen_at.to_string(),
    }
}
