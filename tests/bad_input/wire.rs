//! HTTP itself, bent. Where the HTTP library answers by itself, there is a bare status and the connection is closed.

use super::assert_nothing_happened;
use crate::rig::{BILLING, Rig, STRANGER, request};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_ends_the_connection() {
    let rig = Rig::new().await;
    let mint = "POST /v1/credentials/orders-read HTTP/1.1\r\nhost: b\r\n";
    let bent = [
        "\0\0\0\0\r\n\r\n".to_owned(),
        "GET /v1/roles\r\n\r\n".to_owned(),
        "GET /v1/roles HTTP/9.9\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        "GET  /v1/roles HTTP/1.1\r\n\r\n".to_owned(),
        "G\u{e9}T /v1/roles HTTP/1.1\r\n\r\n".to_owned(),
        format!("{mint}no colon\r\n\r\n"),
        format!("{mint}a b: c\r\n\r\n"),
        format!("{mint}a: \0\r\n\r\n"),
        format!("{mint}content-length: two\r\n\r\n{{}}"),
        format!("{mint}content-length: +2\r\n\r\n{{}}"),
        format!("{mint}content-length: 2\r\ncontent-length: 3\r\n\r\n{{}}"),
        format!("{mint}content-length: 99999999999999999999999\r\n\r\n"),
        format!("{mint}transfer-encoding: gzip\r\n\r\n"),
        format!("{mint}x: {}\r\n\r\n", "y".repeat(20_000)),
        format!("{mint}{}\r\n", "x: y\r\n".repeat(200)),
        format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(70_000)),
        format!("{} / HTTP/1.1\r\n\r\n", "X".repeat(20_000)),
    ];
    for bytes in bent {
        let shown = &bytes[..bytes.len().min(120)];
        let mut line = rig.line(BILLING).await;
        // The broker may close before it has read all.
        let _ = line.send(&bytes).await;
        if let Ok(Some(answer)) = line.answer().await {
            assert!([400, 414, 431, 501, 505].contains(&answer.status), "{shown}: {answer:?}");
            line.assert_closed().await;
        }
    }
    assert_nothing_happened(&rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_but_good_http_is_served() {
    let rig = Rig::new().await;
    let mut line = rig.line(STRANGER).await;
    for (bytes, status) in [
        (format!("{} /v1/roles HTTP/1.1\r\nhost: b\r\n\r\n", "X".repeat(100)), 405),
        ("get /v1/roles HTTP/1.1\r\nhost: b\r\n\r\n".to_owned(), 405),
        ("OPTIONS * HTTP/1.1\r\nhost: b\r\n\r\n".to_owned(), 404),
        ("GET https://elsewhere/v1/roles HTTP/1.1\r\nhost: b\r\n\r\n".to_owned(), 200),
        ("GET /v1/roles?x=%00#y HTTP/1.1\r\nhost: b\r\n\r\n".to_owned(), 200),
        (request("GET", "/v1/roles", Some("{}")), 200),
        ("GET /v1/roles HTTP/1.1\r\nhost: b\r\nx-request-id: mine-1\r\n\r\n".to_owned(), 200),
    ] {
        let answer = line.exchange(&bytes).await;
        assert_eq!(answer.status, status, "{bytes}: {answer:?}");
        if bytes.contains("mine-1") {
            assert_eq!(answer.header("x-request-id"), Some("mine-1"));
        }
    }
    let odd_id = line.exchange("GET /v1/roles HTTP/1.1\r\nx-request-id: a\tb{}\r\n\r\n").await;
    assert!(odd_id.header("x-request-id").is_some_and(|id| id.starts_with("r-")), "{odd_id:?}");

    let mut old = rig.line(STRANGER).await;
    assert_eq!(old.exchange("GET /v1/roles HTTP/1.0\r\n\r\n").await.status, 200);
    old.assert_closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_sent_ahead_are_answered_in_turn() {
    let rig = Rig::new().await;
    let mut line = rig.line(STRANGER).await;
    let ahead: String = (0..20).map(|n| format!("GET /v1/roles HTTP/1.1\r\nx-request-id: n{n}\r\n\r\n")).collect();
    line.send(ahead).await.expect("send");
    for n in 0..20 {
        let answer = line.answer().await.expect("an answer").expect("an answer");
        assert_eq!(answer.header("x-request-id"), Some(format!("n{n}").as_str()));
    }
}

/// Nothing stands between a caller and the broker that could be made to see another border between requests than the broker
/// does; still, no request may be read in two ways.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_hidden_in_another_is_none() {
    let rig = Rig::new().await;
    let hidden = request("POST", "/v1/credentials/orders-read", None);
    let head = "GET /v1/roles HTTP/1.1\r\nhost: b\r\ncontent-type: application/json\r\n";
    let length = hidden.len();
    let shapes = [
        format!("{head}content-length: {length}\r\n\r\n{hidden}"),
        format!(
            "{head}content-length: {length}\r\ntransfer-encoding: chunked\r\n\r\n{length:x}\r\n{hidden}\r\n0\r\n\r\n"
        ),
        format!("{head}transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n{length:x}\r\n{hidden}\r\n0\r\n\r\n"),
        format!("{head}transfer-encoding: identity, chunked\r\n\r\n{length:x}\r\n{hidden}\r\n0\r\n\r\n"),
        format!("{head}transfer-encoding: chunked, chunked\r\n\r\n{length:x}\r\n{hidden}\r\n0\r\n\r\n"),
        format!("{head}transfer-encoding : chunked\r\ncontent-length: {length}\r\n\r\n{hidden}"),
        format!("{head}transfer-encoding: xchunked\r\ncontent-length: {length}\r\n\r\n{hidden}"),
        format!("{head}transfer-encoding:\r\n chunked\r\ncontent-length: {length}\r\n\r\n{hidden}"),
    ];
    for shape in shapes {
        let mut line = rig.line(BILLING).await;
        line.send(&shape).await.expect("send");
        let first = line.answer().await.expect("an answer");
        // Then a plain request: its answer must be the next, if the connection still lives.
        let next = request("GET", "/v1/nowhere", None);
        if first.is_some_and(|a| a.status == 200)
            && line.send(next).await.is_ok()
            && let Ok(Some(answer)) = line.answer().await
        {
            assert_eq!(answer.status, 404, "{shape}: {answer:?}");
        }
    }
    assert_nothing_happened(&rig).await;
}
