//! Every call of the API without the right to make it. A new endpoint that is not in the table makes the first test fail.

use std::collections::BTreeSet;

use leasehold::api::{Needs, endpoints};
use leasehold_client::wire::MintRequest;
use leasehold_testkit::TestCa;

use crate::rig::{BILLING, Line, READ, Rig, STRANGER, Stranger, load, mint, request};

/// What a good SVID without any grant gets.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Gets {
    /// 403 with a decision id that the audit log has.
    Denied,
    /// 400 in OAuth's words, with a decision id that the audit log has.
    Refused,
    /// 404: the broker of these tests issues none.
    NoIssuer,
    /// 404: whether there is such a lease is not told.
    NotFound,
    /// 200 with an empty list of this name.
    Nothing(&'static str),
    /// 200: it is public.
    Everything,
}

struct Call {
    method: &'static str,
    path: &'static str,
    body: Option<&'static str>,
    gets: Gets,
}

const OF_OTHERS: &str = r#"{"identity":"spiffe://dev.local/billing","action":"mint","role":"orders-read"}"#;

const FORM: &str = "grant_type=client_credentials&resource=https%3A%2F%2Fpayments.example.org";

const fn call(method: &'static str, path: &'static str, body: Option<&'static str>, gets: Gets) -> Call {
    Call { method, path, body, gets }
}

const CALLS: &[Call] = &[
    call("POST", "/v1/credentials/{role}", None, Gets::Denied),
    call("GET", "/v1/roles", None, Gets::Nothing("roles")),
    call("GET", "/v1/leases", None, Gets::Nothing("leases")),
    call("GET", "/v1/leases/{id}", None, Gets::NotFound),
    call("POST", "/v1/leases/{id}/renew", None, Gets::NotFound),
    call("POST", "/v1/leases/{id}/revoke", None, Gets::NotFound),
    call("POST", "/v1/leases/revoke", Some(r#"{"all":true}"#), Gets::Denied),
    call("GET", "/v1/leases/revoke/{order}", None, Gets::NotFound),
    call("POST", "/v1/decisions", Some(OF_OTHERS), Gets::Denied),
    call("POST", "/v1/reconcile", None, Gets::Denied),
    call("POST", "/v1/targets/{target}/forget", None, Gets::Denied),
    call("POST", "/v1/targets/{target}/rotate-admin", None, Gets::Denied),
    call("POST", "/v1/seal/rotate", None, Gets::Denied),
    call("POST", "/v1/token/rotate-key", None, Gets::Denied),
    call("GET", "/v1/token/keys", None, Gets::Denied),
    call("GET", "/v1/token/discovery", None, Gets::NoIssuer),
    call("GET", "/v1/brokers", None, Gets::Denied),
    call("GET", "/v1/blocks", None, Gets::Denied),
    call("PUT", "/v1/blocks", Some(r#"{"identity":"spiffe://dev.local/billing"}"#), Gets::Denied),
    call("DELETE", "/v1/blocks", Some(r#"{"identity":"spiffe://dev.local/billing"}"#), Gets::Denied),
    call("GET", "/v1/openapi.json", None, Gets::Everything),
    call("POST", "/oauth2/token", Some(FORM), Gets::Refused),
    call("POST", "/oauth2/introspect", Some("token=x"), Gets::Everything),
    call("POST", "/oauth2/revoke", Some("token=x"), Gets::Everything),
];

impl Call {
    fn request(&self, lease: &str) -> String {
        let text = request(self.method, &self.uri(lease), self.body);
        let form = "application/x-www-form-urlencoded";
        if self.path.starts_with("/oauth2/") { text.replace("application/json", form) } else { text }
    }

    fn uri(&self, lease: &str) -> String {
        self.path
            .replace("{role}", READ)
            .replace("{id}", lease)
            .replace("{target}", "orders")
            .replace("{order}", "o-00")
    }
}

#[test]
fn every_endpoint_is_in_the_table() {
    let there: BTreeSet<_> = endpoints().iter().map(|e| (e.method.to_string(), e.path)).collect();
    let tested: BTreeSet<_> = CALLS.iter().map(|call| (call.method.to_owned(), call.path)).collect();
    assert_eq!(there, tested, "the table of tests/unauthorized.rs must have every endpoint");
    for endpoint in endpoints() {
        let call = CALLS.iter().find(|call| call.path == endpoint.path).expect("it is there");
        let open =
            matches!(call.gets, Gets::Nothing(_) | Gets::Everything | Gets::NoIssuer) || call.path == "/v1/decisions";
        assert_eq!(open, endpoint.needs == Needs::Nothing, "{}", endpoint.path);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_good_svid_there_is_a_tls_alert_and_no_answer() {
    let rig = Rig::new().await;
    let nobody = Stranger::new(None, &["http/1.1"]);
    // The trust domain's name alone opens nothing: another CA calls itself `dev.local`.
    let (other, namesake) = (TestCa::new("other.example"), TestCa::new("dev.local"));
    let foreign = Stranger::new(Some(&other.svid(BILLING)), &["http/1.1"]);
    let forged = Stranger::new(Some(&namesake.svid(BILLING)), &["http/1.1"]);
    for call in CALLS {
        let text = call.request("06f0c000000000000000000000");
        for (who, stranger) in [("nobody", &nobody), ("a foreign SVID", &foreign), ("a forged SVID", &forged)] {
            let mut line = stranger.greet(rig.api()).await.expect("the client's half of TLS 1.3").line;
            let _ = line.send(&text).await;
            let refused = line.answer().await.expect_err("an alert").to_string();
            assert!(refused.contains("fatal alert"), "{who}, {}: {refused}", call.path);
        }
    }
    assert!(rig.leases().await.is_empty());
    let audit = rig.audit();
    let reasons: BTreeSet<_> =
        audit.iter().filter(|line| line["event"] == "handshake_refused").filter_map(|l| l["reason"].as_str()).collect();
    assert!(reasons.len() >= 3, "each kind of refusal is on record: {reasons:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_svid_without_a_grant_gets_nothing_that_is_not_its_own() {
    let rig = Rig::new().await;
    let billing = rig.client(BILLING);
    let (lease, _) = mint(&billing, READ, &MintRequest::default()).await.expect("billing has a grant");
    let mut line = rig.line(STRANGER).await;
    for call in CALLS {
        let answer = line.exchange(call.request(&lease.id)).await;
        match call.gets {
            Gets::Refused => {
                assert_eq!((answer.status, &answer.json()["error"]), (400, &"invalid_target".into()), "{answer:?}");
                let words = answer.json()["error_description"].as_str().expect("words").to_owned();
                let decision = words.split("decision ").nth(1).expect("a decision id").trim_end_matches(')').to_owned();
                let denied = rig.audit().into_iter().any(|l| l["decision_id"] == *decision && l["allowed"] == false);
                assert!(denied, "{}: the audit log lacks {decision}", call.path);
            }
            Gets::Denied => {
                let problem = answer.problem(403);
                let decision = problem["decision_id"].as_str().expect("a decision id");
                let line = rig.audit().into_iter().find(|line| line["decision_id"] == decision);
                let line = line.unwrap_or_else(|| panic!("{}: the audit log lacks {decision}", call.path));
                assert_eq!(line["allowed"], false, "{line}");
                assert_eq!(line["identity"], "spiffe://dev.local/stranger", "{line}");
                assert_eq!(line["request_id"], problem["request_id"], "{line}");
            }
            Gets::NoIssuer => assert_eq!(answer.problem(404)["type"], "urn:leasehold:problem:no-issuer"),
            Gets::NotFound => drop(answer.problem(404)),
            Gets::Nothing(list) => assert_eq!(answer.json()[list], serde_json::json!([]), "{}", call.path),
            Gets::Everything => assert_eq!(answer.status, 200),
        }
    }
    let after = rig.lease(&lease.id).await;
    assert_eq!((after.state.as_str(), after.expires_at), ("active", lease.expires_at));
    assert_eq!(rig.accounts().await, [lease.account]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_methods_and_paths_are_told() {
    let rig = Rig::new().await;
    let mut line = rig.line(STRANGER).await;
    for call in CALLS {
        let uri = call.uri("06f0c000000000000000000000");
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
            // One path is a lease's when it is asked for and an order when it is posted to.
            let there = endpoints().into_iter().any(|e| e.method == method && matches(e.path, &uri));
            if !there {
                let answer = line.ask(method, &uri, None).await;
                answer.problem(405);
                let all: Vec<_> = CALLS.iter().filter(|c| c.path == call.path).map(|c| c.method).collect();
                assert_eq!(answer.header("allow"), Some(&*all.join(", ")), "{method} {uri}");
            }
        }
    }
    for path in ["/", "/v1", "/v2/roles", "/v1/roles/", "/v1/credentials/", "/metrics", "/readyz"] {
        let answer = line.ask("GET", path, None).await;
        assert_eq!(answer.status, 404, "{path}");
        answer.problem(404);
    }
}

/// Whether a path is one of this pattern, as a router sees it: literal segments first.
fn matches(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), path.split('/').collect());
    pattern.len() == path.len()
        && pattern.iter().zip(&path).all(|(p, s)| p == s || (p.starts_with('{') && *s != "revoke"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_is_one_whole_id() {
    let rig = Rig::new().await;
    // The grant is for `/billing`: neither a longer path nor another case is it.
    for path in ["/billing/x", "/Billing", "/billing2", "/x/billing"] {
        let identity = load(&rig.svid(path));
        let mut line = Line::open(rig.api(), &identity).await.expect("a handshake");
        line.ask("POST", "/v1/credentials/orders-read", None).await.problem(403);
    }
    assert!(rig.accounts().await.is_empty());
}
