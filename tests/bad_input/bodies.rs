//! Bodies: what is in them, and how they come.

use super::{Case, all_refused, words};
use crate::rig::{BILLING, READ, Rig, SOON, TENANT, TENANTS, for_ttl, mint, request};

#[tokio::test(flavor = "multi_thread")]
async fn ttls_out_of_range_or_reason() {
    let rig = Rig::new().await;
    let ttls = [
        "0s",
        "0",
        "-1s",
        "999ms",
        "1h1s",
        "2d",
        "soon",
        "",
        "10",
        "1e3s",
        "1h 1h",
        "99999999999999999999s",
        "9999999999y",
        "１m",
        "1m\\u0000",
        "\\ud83d\\ude00",
    ];
    let mut cases: Vec<_> =
        ttls.iter().map(|ttl| Case::mint("a wrong ttl", &format!("{{\"ttl\":\"{ttl}\"}}"), 400)).collect();
    for value in ["900", "1.5", "true", "[]", "{}", "[\"1m\"]"] {
        cases.push(Case::mint("a ttl that is no text", &format!("{{\"ttl\":{value}}}"), 400));
    }
    let problems = all_refused(&rig, cases).await;
    let over = problems
        .iter()
        .find(|p| p["detail"].as_str().is_some_and(|d| d.contains("1h1s was asked for")))
        .expect("the longest");
    assert!(over["detail"].as_str().is_some_and(|d| d.contains("from 1s to 1h")), "{over}");

    // The ends of the range are good.
    let client = rig.client(BILLING);
    for ttl in ["1h", "1s"] {
        mint(&client, READ, &for_ttl(ttl)).await.unwrap_or_else(|e| panic!("{ttl}: {e}"));
    }
    client.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_not_what_was_agreed() {
    let rig = Rig::new().await;
    let deep = format!("{{\"params\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
    let mut cases = vec![
        Case::mint("an unknown field", r#"{"tll":"1m"}"#, 400),
        Case::mint("an unknown field among good ones", r#"{"ttl":"1m","admin":true}"#, 400),
        Case::mint("a key twice", r#"{"ttl":"1m","ttl":"2m"}"#, 400),
        Case::mint("half an object", r#"{"ttl":"1m""#, 400),
        Case::mint("no JSON", "ttl=1m", 400),
        Case::mint("a list in the fields' order", r#"["1m",null,null]"#, 400),
        Case::mint("an empty list", "[]", 400),
        Case::mint("null", "null", 400),
        Case::mint("a text", r#""ttl""#, 400),
        Case::mint("two objects", "{} {}", 400),
        Case::mint("a byte order mark", "\u{feff}{}", 400),
        Case::mint("half a surrogate pair", r#"{"ttl":"\ud800"}"#, 400),
        Case::mint("deep nesting", &deep, 400),
        Case::mint("a number without end", &format!("{{\"ttl\":{}}}", "9".repeat(5000)), 400),
        Case::mint("a comment", "{/* */}", 400),
        Case::mint("not a lease id", r#"{"replaces":"mine"}"#, 400),
        Case::mint("nobody's lease", r#"{"replaces":"06f0c0000000000000000000000"}"#, 400),
        Case::mint("no such lease", r#"{"replaces":"06f0c00000000000000000000g"}"#, 400),
    ];
    let mut not_utf8 = request("POST", "/v1/credentials/orders-read", Some(r#"{"ttl":"1m?"}"#)).into_bytes();
    let at = not_utf8.iter().rposition(|b| *b == b'?').expect("it is there");
    not_utf8[at] = 0xff;
    cases.push(Case::of(BILLING, "not UTF-8", not_utf8, 400));
    for kind in ["text/plain", "application/jsonx", "application/x-www-form-urlencoded", "json", "*/*", ""] {
        let text = request("POST", "/v1/credentials/orders-read", Some("{}"));
        cases.push(Case::of(BILLING, "a wrong content type", text.replace("application/json", kind), 415));
    }
    let untyped = "POST /v1/credentials/orders-read HTTP/1.1\r\nhost: b\r\ncontent-length: 2\r\n\r\n{}";
    cases.push(Case::of(BILLING, "no content type", untyped, 415));
    all_refused(&rig, cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn params_that_do_not_fit() {
    let rig = Rig::new().await;
    let many: Vec<_> = (0..17).map(|n| format!("\"p{n}\":\"1\"")).collect();
    let problems = all_refused(
        &rig,
        vec![
            Case::tenant("missing", "{}", 403),
            Case::tenant("another one besides", r#"{"params":{"tenant":"41","shop":"1"}}"#, 403),
            Case::tenant("not of the role's form", r#"{"params":{"tenant":"41 "}}"#, 403),
            Case::tenant("SQL", r#"{"params":{"tenant":"41'; DROP TABLE orders; --"}}"#, 403),
            Case::tenant("with a line's end", r#"{"params":{"tenant":"41\n"}}"#, 403),
            Case::tenant("not of the grant's form", r#"{"params":{"tenant":"7"}}"#, 403),
            Case::tenant("twice", r#"{"params":{"tenant":"99","tenant":"41"}}"#, 400),
            Case::tenant("a number", r#"{"params":{"tenant":41}}"#, 400),
            Case::tenant("a list", r#"{"params":[["tenant","41"]]}"#, 400),
            Case::tenant("null", r#"{"params":{"tenant":null}}"#, 400),
            Case::tenant("a long one", &format!("{{\"params\":{{\"tenant\":\"{}\"}}}}", "4".repeat(10_000)), 403),
            Case::mint("where none are taken", r#"{"params":{"tenant":"41"}}"#, 403),
            Case::mint("too many", &format!("{{\"params\":{{{}}}}}", many.join(",")), 400),
        ],
    )
    .await;
    assert_eq!(problems.last().expect("one")["limit"], "params_per_request_max");
    assert_eq!(rig.hits("params_per_request_max").await, 1.0);

    let body = r#"{"params":{"tenant":"41"}}"#;
    let good = rig.ask(TENANTS, "POST", &format!("/v1/credentials/{TENANT}"), Some(body)).await;
    assert_eq!(good.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_and_broken_bodies() {
    let rig = Rig::with(|config| config.limit("body_bytes_max", 1000)).await;
    let head = "POST /v1/credentials/orders-read HTTP/1.1\r\nhost: b\r\ncontent-type: application/json\r\n";
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n");
    let padded = |n: usize| format!("{{{}}}", " ".repeat(n - 2));
    let large = format!("{chunked}3e9\r\n{}\r\n0\r\n\r\n", padded(1001));
    let problems = all_refused(
        &rig,
        vec![
            Case::mint("one byte over", &padded(1001), 413),
            Case::of(BILLING, "announced only", format!("{head}content-length: 999999999999\r\n\r\n"), 413),
            Case::of(
                BILLING,
                "announced beyond all memory",
                format!("{head}content-length: 9223372036854775807\r\n\r\n"),
                413,
            ),
            Case::of(
                BILLING,
                "with a question first",
                format!("{head}expect: 100-continue\r\ncontent-length: 5000\r\n\r\n"),
                413,
            ),
            Case::of(BILLING, "in chunks", large, 413),
            Case::of(BILLING, "chunks that are none", format!("{chunked}zz\r\n{{}}\r\n0\r\n\r\n"), 400),
            Case::of(BILLING, "a chunk's size without end", format!("{chunked}{}\r\n", "f".repeat(40)), 400),
            Case::of(BILLING, "a negative chunk", format!("{chunked}-2\r\n{{}}\r\n0\r\n\r\n"), 400),
        ],
    )
    .await;
    assert_eq!(problems[0]["limit"], "body_bytes_max");
    assert_eq!(rig.hits("body_bytes_max").await, 5.0);
    let mut line = rig.line(BILLING).await;
    assert_eq!(
        line.ask("POST", "/v1/credentials/orders-read", Some(&padded(1000))).await.status,
        201,
        "as large as it may be"
    );
    line.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_senders_are_cut() {
    let rig = Rig::with(|config| config.limit("body_seconds_max", 1).limit("header_seconds_max", 1)).await;
    let started = tokio::time::Instant::now();
    let mut body = rig.line(BILLING).await;
    let head = "POST /v1/credentials/orders-read HTTP/1.1\r\nhost: b\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n";
    let problem = body.exchange(format!("{head}{{")).await.problem(408);
    assert_eq!(problem["limit"], "body_seconds_max");
    body.assert_closed().await;
    let mut headers = rig.line(BILLING).await;
    headers.send("GET /v1/roles HTTP/1.1\r\nhost:").await.expect("send");
    headers.assert_closed().await;
    let mut idle = rig.line(BILLING).await;
    assert_eq!(idle.ask("GET", "/v1/roles", None).await.status, 200);
    idle.assert_closed().await;
    assert!(started.elapsed() < SOON / 4, "{:?}", started.elapsed());
    super::assert_nothing_happened(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_such_role_and_no_grant_are_one_answer() {
    let rig = Rig::new().await;
    let mut line = rig.line(BILLING).await;
    let mut seen = Vec::new();
    for role in ["no-such-role", TENANT, "orders", "ORDERS-READ", "orders-read2"] {
        seen.push(words(&line.ask("POST", &format!("/v1/credentials/{role}"), None).await, role));
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:?}");
}
