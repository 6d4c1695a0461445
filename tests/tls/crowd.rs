//! Many connections at once, most of them by somebody who means no good.

use std::time::Duration;

use leasehold_testkit::wait_until;
use tokio::time::Instant;

use super::{heard, refused, silent};
use crate::rig::{BILLING, Line, READ, Rig, SOON, Stranger, for_ttl, mint};

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_hold_nobody_up_and_are_cut_after_their_time() {
    let mut rig = Rig::new().await;
    let client = rig.client(BILLING);
    mint(&client, READ, &for_ttl("1m")).await.expect("the first mint, which opens what it needs");
    let started = Instant::now();
    let mut crowd = Vec::new();
    for _ in 0..60 {
        crowd.push(silent(rig.api()).await);
    }
    // On a new connection, while all the others keep silent.
    let second = rig.client(BILLING);
    mint(&second, READ, &for_ttl("1m")).await.expect("a mint beside the crowd");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    for tcp in crowd {
        assert!(heard(tcp).await.is_empty());
    }
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(3) && took < SOON / 2, "handshake_milliseconds_max is 3000: {took:?}");
    wait_until(SOON, "all are counted", || async { refused(&rig, "timeout").await == 60.0 }).await;
    let told = |rig: &Rig| {
        rig.audit().iter().filter(|l| l["event"] == "handshake_refused" && l["reason"] == "timeout").count()
    };
    wait_until(SOON, "some are on record", || async { told(&rig) > 0 }).await;
    client.close().await;
    second.close().await;

    // The rest is one line with a number, at the latest when the broker stops.
    rig.broker.terminate().await.expect("it stops");
    assert!(told(&rig) <= 20, "refused_handshakes_audited_per_minute is 10: {}", told(&rig));
    let counted: u64 = rig.audit().iter().filter_map(|l| l["counts"]["timeout"].as_u64()).sum();
    assert_eq!(told(&rig) as u64 + counted, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_at_once_are_bounded() {
    let rig = Rig::with(|c| c.limit("handshakes_at_once_max", 3).limit("handshake_milliseconds_max", 2000)).await;
    let started = Instant::now();
    let mut four = Vec::new();
    for _ in 0..4 {
        four.push(silent(rig.api()).await);
    }
    let ends = four.into_iter().map(async |tcp| {
        assert!(heard(tcp).await.is_empty());
        started.elapsed()
    });
    let ends = futures_util::future::join_all(ends).await;
    // One too many is closed at once, whichever of them came last; the others have their time.
    assert_eq!(ends.iter().filter(|took| **took < Duration::from_millis(1900)).count(), 1, "{ends:?}");
    assert_eq!(rig.hits("handshakes_at_once_max").await, 1.0);
    rig.assert_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_bounded() {
    let rig = Rig::with(|c| c.limit("connections_at_once_max", 4)).await;
    let mut kept = Vec::new();
    for _ in 0..4 {
        let mut line = rig.line(BILLING).await;
        assert_eq!(line.ask("GET", "/v1/roles", None).await.status, 200);
        kept.push(line);
    }
    assert!(Line::open(rig.api(), &rig.ground.identity(BILLING)).await.is_err(), "the fifth");
    assert_eq!(rig.hits("connections_at_once_max").await, 1.0);
    for line in &mut kept {
        assert_eq!(line.ask("GET", "/v1/roles", None).await.status, 200, "those that are there go on");
    }
    for line in kept {
        line.close().await;
    }
    wait_until(SOON, "places are free again", || async {
        Line::open(rig.api(), &rig.ground.identity(BILLING)).await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_at_once_are_bounded() {
    let rig = Rig::with(|c| c.limit("requests_at_once_max", 1)).await;
    let client = rig.client(BILLING);
    let (lease, _) = mint(&client, READ, &for_ttl("10m")).await.expect("a mint");
    client.close().await;
    let mut waiter = rig.line(BILLING).await;
    let poll = crate::rig::request("GET", &format!("/v1/leases/{}?while=active&wait=60s", lease.id), None);
    waiter.send(poll).await.expect("send");
    let mut other = rig.line(BILLING).await;
    let mut answer = other.ask("GET", "/v1/roles", None).await;
    let deadline = Instant::now() + SOON / 2;
    while answer.status == 200 && Instant::now() < deadline {
        answer = other.ask("GET", "/v1/roles", None).await;
    }
    let problem = answer.problem(503);
    assert_eq!((problem["limit"].as_str(), answer.header("retry-after")), (Some("requests_at_once_max"), Some("1")));
    assert!(rig.hits("requests_at_once_max").await >= 1.0);
    drop(waiter);
    wait_until(SOON, "its place is free", || async { rig.ask(BILLING, "GET", "/v1/roles", None).await.status == 200 })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scanner_does_not_fill_the_log() {
    let rig = Rig::with(|c| c.limit("refused_handshakes_audited_per_minute", 3)).await;
    let nobody = Stranger::new(None, &["http/1.1"]);
    for _ in 0..40 {
        if let Ok(mut greeting) = nobody.greet(rig.api()).await {
            let _ = greeting.line.answer().await;
        }
    }
    wait_until(SOON, "all are counted", || async { refused(&rig, "no_certificate").await == 40.0 }).await;
    let told = rig.audit().iter().filter(|l| l["reason"] == "no_certificate").count();
    assert!((1..=6).contains(&told), "{told}");
    rig.assert_healthy().await;
}
