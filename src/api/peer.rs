//! From a verified peer to the caller of one request: each request on a kept connection is judged again.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use leasehold_identity::{Identity, Peer};
use leasehold_sdk::Timestamp;

use super::fair::Fair;
use super::problem::Problem;
use crate::domain::caller::{Caller, Proof};
use crate::lease::{Broker, RequestId};

/// What every request passes.
#[derive(Clone)]
pub(super) struct Gate {
    pub identity: Arc<Identity>,
    pub broker: Arc<Broker>,
    pub requests: Fair,
}

/// Lets a request pass whose SVID is still good: not expired, and verified by the bundle as it is now (X509-SVID
/// section 5.1 says nothing of kept connections; the hole is that of a resumed session). Puts its [`Caller`] into it.
pub(super) async fn recheck(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let Some(peer) = request.extensions().get::<Peer>().cloned() else {
        return Problem::unauthenticated("the connection has no verified peer").into();
    };
    if let Err(refused) = gate.identity.recheck(&peer, gate.broker.now().unix_ms()) {
        return Problem::unauthenticated(&refused.to_string()).into();
    }
    let caller = Caller {
        id: peer.spiffe_id.clone(),
        proof: Proof::Certificate {
            sha256: peer.cert_sha256.clone(),
            not_after: Timestamp::from_unix_ms(peer.not_after_unix_ms),
        },
    };
    let Some(_held) = gate.requests.take(&caller.id) else {
        return Problem::too_many(gate.requests.limit).into();
    };
    let request_id = request.extensions().get::<RequestId>().cloned().unwrap_or_else(|| RequestId(String::new()));
    if let Err(blocked) = gate.broker.admit(&caller, &request_id, request.uri().path()).await {
        return Problem::from(blocked).into();
    }
    request.extensions_mut().insert(caller);
    next.run(request).await
}
