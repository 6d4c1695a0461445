//! Who comes in by the break-glass socket, for what, and loudly.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use leasehold_identity::SpiffeId;
use tokio::net::UnixStream;

use crate::api::problem::Problem;
use crate::api::routes::on_break_glass;
use crate::domain::caller::{BreakGlass, Caller, Proof, Reason};
use crate::lease::{Broker, RequestId};
use crate::telemetry::metrics::Metrics;

/// The header in which a request says why.
const REASON: &str = "leasehold-reason";

/// What every request on the socket passes.
#[derive(Clone)]
pub(super) struct Gate {
    pub broker: Arc<Broker>,
    pub metrics: Arc<Metrics>,
    /// The name that such callers go by: no workload has it, and nothing is its own.
    pub id: SpiffeId,
}

/// The process that connected (`SO_PEERCRED` in unix(7)): the kernel's word, as of then.
#[derive(Debug, Clone, Copy)]
pub(super) struct OtherSide {
    pub uid: u32,
    pub pid: Option<i32>,
}

impl OtherSide {
    pub(super) fn of(stream: &UnixStream) -> Option<Self> {
        let other = stream.peer_cred().ok()?;
        Some(Self { uid: other.uid(), pid: other.pid() })
    }

    /// Not even the broker's own user: whatever else runs as it must not become an operator, and every use of the socket is
    /// to be some administrator's of the host.
    pub(super) fn is_root(self) -> bool {
        self.uid == 0
    }
}

/// Lets a request pass that is root's, says why, and is one of those the socket is for. Puts its [`Caller`] into it.
pub(super) async fn admit(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let call = format!("{} {}", request.method(), request.uri().path());
    let response = match by(&request) {
        Ok(by) => {
            tracing::warn!(call, uid = by.uid, pid = by.pid, reason = by.reason.as_str(), "the glass is broken");
            pass(&gate, Caller { id: gate.id.clone(), proof: Proof::BreakGlass(by) }, request, next).await
        }
        Err(problem) => problem.into_response(),
    };
    let done = response.status().is_success();
    if !done {
        tracing::warn!(call, status = response.status().as_u16(), "a request on the break-glass socket was refused");
    }
    gate.metrics.break_glass(done);
    response
}

async fn pass(gate: &Gate, caller: Caller, mut request: Request, next: Next) -> Response {
    let (method, known) = (request.method().clone(), request.extensions());
    let route = known.get::<MatchedPath>().map(|route| format!("{method} {}", route.as_str()));
    let id = known.get::<RequestId>().cloned();
    if let (Some(route), Some(id)) = (route.filter(|route| !on_break_glass(route)), id) {
        return Problem::from(gate.broker.not_on_break_glass(&caller, &id, &route).await).into();
    }
    request.extensions_mut().insert(caller);
    next.run(request).await
}

/// Who asks, and why.
fn by(request: &Request) -> Result<BreakGlass, Problem> {
    match request.extensions().get::<OtherSide>() {
        Some(other) if other.is_root() => {
            Ok(BreakGlass { uid: other.uid, pid: other.pid, reason: reason(request.headers())? })
        }
        other => Err(Problem::not_root(other.map(|other| other.uid))),
    }
}

fn reason(headers: &HeaderMap) -> Result<Reason, Problem> {
    let why = "says why the break-glass socket is used, in 1 to 200 characters";
    let given = headers.get(REASON).ok_or_else(|| Problem::bad(REASON, format!("this header is missing: it {why}")))?;
    let text = std::str::from_utf8(given.as_bytes()).map_err(|_| Problem::bad(REASON, "it is not UTF-8"))?;
    Reason::new(text).map_err(|e| Problem::bad(REASON, e))
}
