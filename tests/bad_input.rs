//! What no good client sends: always a clear answer, nothing minted, and the broker lives on.

mod bodies;
mod paths;
mod wire;

use serde_json::Value;

use crate::rig::{Answer, BILLING, OPERATOR, Rig, TENANTS, request};

/// A whole request of one workload, and the status that it gets as a problem document.
struct Case {
    caller: &'static str,
    what: &'static str,
    bytes: Vec<u8>,
    status: u16,
}

impl Case {
    fn of(caller: &'static str, what: &'static str, bytes: impl Into<Vec<u8>>, status: u16) -> Self {
        Self { caller, what, bytes: bytes.into(), status }
    }

    /// A mint of `orders-read` with this body.
    fn mint(what: &'static str, body: &str, status: u16) -> Self {
        Self::of(BILLING, what, request("POST", "/v1/credentials/orders-read", Some(body)), status)
    }

    /// A mint of `orders-tenant` with this body.
    fn tenant(what: &'static str, body: &str, status: u16) -> Self {
        Self::of(TENANTS, what, request("POST", "/v1/credentials/orders-tenant", Some(body)), status)
    }

    /// A request of the operator.
    fn operator(method: &'static str, uri: &str, body: Option<&str>, status: u16) -> Self {
        Self::of(OPERATOR, "an operator's", request(method, uri, body), status)
    }
}

/// Sends each on a connection of its own and demands its problem document; then nothing may have been minted.
async fn all_refused(rig: &Rig, cases: Vec<Case>) -> Vec<Value> {
    let mut problems = Vec::new();
    for Case { caller, what, bytes, status } in cases {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned();
        let answer = rig.line(caller).await.exchange(&bytes).await;
        assert_eq!(answer.status, status, "{what}: {shown}\n{answer:?}");
        let problem = answer.problem(status);
        assert!(answer.body.len() < 4096, "{what}: an answer stays small: {answer:?}");
        if status == 403 {
            assert!(problem["decision_id"].is_string(), "{what}: {problem}");
        }
        problems.push(problem);
    }
    assert_nothing_happened(rig).await;
    problems
}

async fn assert_nothing_happened(rig: &Rig) {
    assert!(rig.leases().await.is_empty(), "{:?}", rig.leases().await);
    assert!(rig.accounts().await.is_empty(), "{:?}", rig.accounts().await);
    rig.assert_healthy().await;
    assert!(!rig.broker.logs().contains("panic"), "{}", rig.broker.logs());
}

/// The `detail` without what differs from request to request.
fn words(answer: &Answer, role: &str) -> String {
    let problem = answer.problem(403);
    let decision = problem["decision_id"].as_str().expect("a decision id");
    problem["detail"].as_str().expect("words").replace(decision, "D").replace(role, "R")
}
