//! The TLS side of the API: who gets a connection, for how long, and what happens to the connections that are there.

mod crowd;
mod rotation;

use std::net::SocketAddr;
use std::time::Duration;

use leasehold_client::ClientError;
use leasehold_testkit::wait_until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::rig::{BILLING, Line, READ, Rig, SOON, STRANGER, Stranger, for_ttl, hello_of_tls_1_2, load, mint, request};

/// What comes on a plain connection until the other side closes it.
async fn heard(mut tcp: TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let read = tokio::time::timeout(SOON, tcp.read_to_end(&mut all)).await.expect("closed in time");
    // A reset is an end too.
    let _ = read;
    all
}

async fn silent(to: SocketAddr) -> TcpStream {
    TcpStream::connect(to).await.expect("connect")
}

async fn refused(rig: &Rig, reason: &str) -> f64 {
    let series = format!("leasehold_handshakes_total{{result=\"refused\",reason=\"{reason}\"}}");
    rig.broker.metric(&series).await.unwrap_or(0.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_1_2_is_refused_and_so_is_what_is_no_tls() {
    let rig = Rig::new().await;
    let mut old = silent(rig.api()).await;
    old.write_all(&hello_of_tls_1_2()).await.expect("send");
    // A fatal alert: protocol_version (RFC 8446 6).
    assert_eq!(heard(old).await.get(5..), Some(&[2, 70][..]));
    let mut plain = silent(rig.api()).await;
    plain.write_all(request("GET", "/v1/roles", None).as_bytes()).await.expect("send");
    let answer = heard(plain).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    rig.assert_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_session_is_resumed_and_only_what_is_spoken_is_agreed_on() {
    let rig = Rig::new().await;
    let svid = rig.svid(BILLING);
    // One client for both handshakes: it would resume if it were given a ticket.
    let stranger = Stranger::new(Some(&svid), &["h2", "http/1.1"]);
    for _ in 0..2 {
        let mut greeting = stranger.greet(rig.api()).await.expect("a handshake");
        assert_eq!(greeting.line.ask("GET", "/v1/roles", None).await.status, 200);
        assert!(!greeting.resumed);
        assert_eq!(greeting.alpn.as_deref(), Some("http/1.1"));
        greeting.line.close().await;
    }
    let only_h2 = Stranger::new(Some(&svid), &["h2"]).greet(rig.api()).await;
    assert!(only_h2.is_err(), "nothing to agree on");
    let none = Stranger::new(Some(&svid), &[]).greet(rig.api()).await.expect("without ALPN it is HTTP/1.1");
    let mut line = none.line;
    assert_eq!(line.ask("GET", "/v1/roles", None).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_takes_nobody_else_for_the_broker() {
    let rig = Rig::new().await;
    for other in ["spiffe://dev.local/leasehold2", "spiffe://dev.local/billing"] {
        let refused = rig.client_with(BILLING, Some(other)).mint(READ, &for_ttl("1m")).await;
        assert!(matches!(refused, Err(ClientError::Tls { .. })), "{refused:?}");
        let told = rig.run(BILLING, &["get", READ, "--broker-id", other]).await;
        assert_eq!(told.status.code(), Some(1));
        let told = String::from_utf8_lossy(&told.stderr).into_owned();
        assert!(told.contains("spiffe://dev.local/leasehold") && told.contains(other), "{told}");
    }
    assert!(rig.leases().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_svid_ends_and_its_connection_with_it() {
    let rig = Rig::new().await;
    let svid = rig.ground.ca.svid_for(BILLING, Duration::from_secs(3));
    let identity = load(&svid);
    let ends = identity.status().svid_not_after_unix_ms;
    let mut line = Line::open(rig.api(), &identity).await.expect("a handshake");
    let lease = line.ask("POST", "/v1/credentials/orders-read", None).await.json();
    let last = loop {
        if line.send(request("GET", "/v1/roles", None)).await.is_err() {
            break None;
        }
        match line.answer().await {
            Ok(Some(answer)) if answer.status == 200 => {
                assert!(leasehold_sdk::clock::wall().unix_ms() <= ends + 1000, "served after the SVID's end");
            }
            Ok(last) => break last,
            Err(_) => break None,
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    if let Some(answer) = last {
        assert_eq!(answer.problem(401)["type"], "urn:leasehold:problem:svid-not-good");
        assert_eq!(answer.header("connection"), Some("close"));
        line.assert_closed().await;
    }
    // Certificates end with a whole second, until which a handshake is still good.
    wait_until(SOON, "the alert certificate_expired", || async {
        let mut again = Line::open(rig.api(), &identity).await.expect("the client's half");
        let _ = again.send(request("GET", "/v1/roles", None)).await;
        match again.answer().await {
            Ok(Some(answer)) => {
                answer.problem(401);
                false
            }
            Ok(None) => false,
            Err(refused) => refused.to_string().contains("xpired"),
        }
    })
    .await;
    // Leases belong to the SPIFFE ID: this one has outlived its certificate, and the next certificate renews it.
    let id = lease["lease"]["id"].as_str().expect("a lease");
    let client = rig.client(BILLING);
    client.renew(id, &leasehold_client::wire::RenewRequest { ttl: Some("20m".into()) }).await.expect("renew");
    client.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_is_asked_to_close_at_its_age() {
    let rig = Rig::with(|config| config.limit("connection_seconds_max", 10)).await;
    let mut line = rig.line(STRANGER).await;
    assert_eq!(line.ask("GET", "/v1/roles", None).await.status, 200);
    line.assert_closed().await;
    wait_until(SOON, "no connection is left", || async {
        rig.broker.metric("leasehold_connections").await.unwrap_or(9.0) == 0.0
    })
    .await;
    let client = rig.client(BILLING);
    mint(&client, READ, &for_ttl("1m")).await.expect("another connection");
    client.close().await;
}
