//! Paths and queries, and the bodies of the calls that are not a mint.

use super::{Case, all_refused};
use crate::rig::{AUDITOR, BILLING, OPERATOR, Rig, request};

#[tokio::test(flavor = "multi_thread")]
async fn roles_with_odd_names() {
    let rig = Rig::new().await;
    let long = "a".repeat(10_000);
    let names = [
        "a%2fb",
        "..%2forders-read",
        "%00",
        "orders-read%00",
        "orders-read%20",
        "%22%27%3b--",
        "%0d%0aset-cookie:x",
        "%e2%80%ae",
        "%F0%9F%98%80",
        ".",
        "..",
        "*",
        "%2a",
        "orders-read;x",
        "orders-read%3Fttl",
        &long,
    ];
    let mint = |name: &str| request("POST", &format!("/v1/credentials/{name}"), None);
    let mut cases: Vec<_> = names.iter().map(|name| Case::of(BILLING, "an odd role", mint(name), 403)).collect();
    for broken in ["%ff", "%c3%28", "orders-read%ed%a0%80"] {
        cases.push(Case::of(BILLING, "a role that is not UTF-8", mint(broken), 400));
    }
    for elsewhere in ["orders-read/x", "a/b", "", "/orders-read"] {
        cases.push(Case::of(BILLING, "a path that leads nowhere", mint(elsewhere), 404));
    }
    all_refused(&rig, cases).await;
    let longest = rig.audit().iter().map(|line| line.to_string().len()).max();
    assert!(longest < Some(4096), "no caller writes pages into the audit log: {longest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_asked_for_wrongly() {
    let rig = Rig::new().await;
    let queries = [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=ten",
        "limit=4294967296",
        "limit=",
        "limit=1&limit=2",
        "cursor=",
        "cursor=x",
        "cursor=%00",
        "state=dead",
        "state=",
        "state=ACTIVE",
        "page=2",
        "limit=1&Limit=1",
        "state=active&state=active",
        "role=a&x",
    ];
    let get = |query: &str| request("GET", &format!("/v1/leases?{query}"), None);
    let cases = queries.iter().map(|query| Case::of(AUDITOR, "a wrong query", get(query), 400)).collect();
    all_refused(&rig, cases).await;
    // What merely finds nothing is no error.
    for query in ["role=none", "target=%22", "identity=nobody", "state=revoking&role=%00"] {
        let answer = rig.ask(AUDITOR, "GET", &format!("/v1/leases?{query}"), None).await;
        assert_eq!(answer.json()["leases"], serde_json::json!([]), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_named_wrongly() {
    let rig = Rig::new().await;
    let mut cases = Vec::new();
    let long = "0".repeat(10_000);
    for id in [
        "x",
        "06f0c0000000000000000000000",
        "06f0c0000000000000000000",
        "%00",
        "a%2fb",
        "06F0C00000000000000000000G",
        "..",
        &long,
    ] {
        for (method, more) in [("GET", ""), ("POST", "/renew"), ("POST", "/revoke"), ("GET", "?while=active&wait=1s")] {
            cases.push(Case::of(
                BILLING,
                "a wrong lease",
                request(method, &format!("/v1/leases/{id}{more}"), None),
                400,
            ));
        }
    }
    let unknown = "/v1/leases/06f0c00000000000000000000g";
    for (method, more) in [("GET", ""), ("POST", "/renew"), ("POST", "/revoke"), ("GET", "?while=active&wait=30s")] {
        cases.push(Case::of(BILLING, "an unknown lease", request(method, &format!("{unknown}{more}"), None), 404));
    }
    for query in
        ["while=active", "wait=1s", "while=gone&wait=1s", "while=active&wait=soon", "while=active&wait=-1s", "x=1"]
    {
        cases.push(Case::of(BILLING, "a wrong poll", request("GET", &format!("{unknown}?{query}"), None), 400));
    }
    cases.push(Case::of(
        BILLING,
        "a wrong renewal",
        request("POST", &format!("{unknown}/renew"), Some(r#"{"ttl":9}"#)),
        400,
    ));
    all_refused(&rig, cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_given_wrongly() {
    let rig = Rig::new().await;
    let mut cases = Vec::new();
    for body in [
        "{}",
        r#"{"all":false}"#,
        r#"{"all":true,"role":"orders-read"}"#,
        r#"{"role":"a","target":"b"}"#,
        r#"{"all":"yes"}"#,
        r#"{"all":true,"expect":-1}"#,
        r#"{"all":true,"expect":1.5}"#,
        r#"{"all":true,"dry_run":"yes"}"#,
        r#"{"identity":"billing"}"#,
        r#"{"identity":"spiffe://dev.local/%00"}"#,
        r#"{"all":true,"force":true}"#,
    ] {
        cases.push(Case::operator("POST", "/v1/leases/revoke", Some(body), 400));
    }
    cases.push(Case::operator("POST", "/v1/leases/revoke", None, 400));
    for body in [
        "{}",
        r#"{"action":"mint"}"#,
        r#"{"action":"own","role":"orders-read"}"#,
        r#"{"action":"mint","role":7}"#,
        r#"{"action":"mint","role":"r","identity":"dev.local/x"}"#,
        r#"{"action":"mint","role":"r","identity":"spiffe://DEV.local/x"}"#,
        r#"{"action":"mint","role":"r","why":"x"}"#,
    ] {
        cases.push(Case::operator("POST", "/v1/decisions", Some(body), 400));
    }
    for (body, status) in [
        (r#"{"strays":"drop"}"#, 400),
        (r#"{"target":7}"#, 400),
        (r#"{"all":1}"#, 400),
        (r#"{"target":"nowhere"}"#, 404),
    ] {
        cases.push(Case::operator("POST", "/v1/reconcile", Some(body), status));
    }
    cases.push(Case::operator("POST", "/v1/targets/orders/forget", None, 400));
    cases.push(Case::operator("POST", "/v1/targets/nowhere/forget", None, 404));
    cases.push(Case::operator("POST", "/v1/targets/%22%00/forget", None, 404));
    let problems = all_refused(&rig, cases).await;
    let in_service = problems.iter().any(|p| p["detail"].as_str().is_some_and(|d| d.contains("retired = true")));
    assert!(in_service, "{problems:?}");
    assert_eq!(rig.ask(OPERATOR, "POST", "/v1/reconcile", None).await.status, 200);
}
