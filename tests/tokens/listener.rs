//! The public listener as a server: whose certificate it shows, and what those get who are a burden to it.

use std::time::Duration;

use leasehold_identity::{AnonymousConnector, HostTls, HostTlsError, ServerBundle};
use leasehold_testkit::{ConfigFile, TestCa, database_tls, wait_until};
use serde_json::Value;
use tokio::net::TcpStream;

use super::public::{anonymous, public};
use super::world::{ISSUER, World};
use crate::ground::{Line, OPERATOR, SOON, request};
use crate::rig::Ground;

const DISCOVERY: &str = "/.well-known/openid-configuration";
const LISTEN: &str = "public = \"127.0.0.1:0\"";
const SHOWN: &str = "public_tls = { cert = \"web.pem\", key = \"web-key.pem\" }";

/// Puts another certificate for `localhost` where [`SHOWN`] says, and its CA beside it.
fn renew(config: &ConfigFile) {
    let (tls, ca) = database_tls(None);
    for (name, pem) in [("web-ca.pem", ca), ("web.pem", tls.cert_pem), ("web-key.pem", tls.key_pem)] {
        std::fs::write(config.dir().join(name), pem).expect("write a certificate");
    }
}

/// A connection as any program of the web makes it: by host name.
async fn by_name(world: &World) -> Result<Line, HostTlsError> {
    let tls = HostTls { ca: Some(world.rig.ground.dir().join("web-ca.pem")), client: None };
    let tcp = TcpStream::connect(public(world)).await.expect("connect");
    tls.connect("localhost", tcp).await.map(Line::over)
}

async fn check(world: &World, config: &ConfigFile) -> Vec<(String, String)> {
    let file = config.write();
    let said = world.rig.run(OPERATOR, &["check", "--config", &file.to_string_lossy(), "--output", "json"]).await;
    let report: Value = serde_json::from_slice(&said.stdout).unwrap_or_else(|e| panic!("{e}: {said:?}"));
    let found = report["findings"].as_array().expect("findings").iter().filter(|found| found["about"] == "public");
    let text = |found: &Value, member: &str| found[member].as_str().expect("a text").to_owned();
    found.map(|found| (text(found, "level"), text(found, "what"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_its_own_is_shown_and_followed() {
    let world = World::with(|config| {
        renew(&config);
        config.listen(LISTEN).listen(SHOWN)
    })
    .await;
    let mut line = by_name(&world).await.expect("the certificate of the file");
    assert_eq!(line.ask("GET", DISCOVERY, None).await.json()["issuer"], ISSUER);
    assert!(world.rig.broker.logs().contains("can be read by others"), "its key is as open as this test wrote it");

    renew(&world.rig.config);
    wait_until(SOON, "the new certificate", || async { by_name(&world).await.is_ok() }).await;
    // What stops being readable is no reason to show nothing.
    std::fs::write(world.rig.ground.dir().join("web.pem"), "no certificate").expect("write");
    wait_until(SOON, "the log", || async { world.rig.broker.logs().contains("cannot be read again") }).await;
    by_name(&world).await.expect("the certificate of before");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_svid_is_shown() {
    let world = World::in_public(&[]).await;
    let (dir, next) = (world.rig.ground.dir(), TestCa::new("dev.local"));
    // Whoever knows the new authority only does not take the SVID of the old one.
    std::fs::write(dir.join("next.pem"), next.bundle_pem()).expect("write");
    let by_next = || async {
        let bundle = ServerBundle::File(dir.join("next.pem"));
        let connector = AnonymousConnector::new("spiffe://dev.local/leasehold".parse().expect("an ID"), bundle);
        connector.connect(TcpStream::connect(public(&world)).await.expect("connect")).await.map(Line::over)
    };
    assert!(by_next().await.is_err(), "the SVID of before");
    std::fs::write(dir.join("bundle.pem"), world.rig.ground.ca.bundle_pem() + &next.bundle_pem()).expect("write");
    let id = next.dev().trust_domain().id("/leasehold").expect("an ID");
    next.dev().issue(&id, Duration::from_secs(3600)).expect("issue").write_to(dir, "broker").expect("write");
    wait_until(SOON, "the new SVID", || async { by_next().await.is_ok() }).await;
    let mut line = by_next().await.expect("a handshake");
    assert_eq!(line.ask("GET", DISCOVERY, None).await.json()["issuer"], ISSUER);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_cannot_be_used_is_refused_at_start() {
    let ground = Ground::new().await;
    let config = ground.config().listen(LISTEN).listen(SHOWN);
    let said = ground.refused(&config).await;
    assert!(said.contains("listen.public_tls") && said.contains("web.pem"), "{said}");
    renew(&config);
    // Another's key.
    std::fs::write(ground.dir().join("web-key.pem"), database_tls(None).0.key_pem).expect("write");
    let said = ground.refused(&config).await;
    assert!(said.contains("listen.public_tls") && said.contains("web-key.pem"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tells_what_verifiers_will_miss() {
    let world = World::new().await;
    let found = check(&world, &world.rig.config).await;
    assert!(
        matches!(&*found, [(level, what)] if level == "warning" && what.contains("set listen.public")),
        "{found:?}"
    );

    let shown = world.rig.config.clone().listen(LISTEN).listen(SHOWN);
    let found = check(&world, &shown).await;
    assert!(matches!(&*found, [(level, what)] if level == "error" && what.contains("web.pem")), "{found:?}");
    renew(&shown);
    let found = check(&world, &shown).await;
    assert!(matches!(&*found, [(level, what)] if level == "warning" && what.contains("by others")), "{found:?}");
    // The file lies where the running broker reads it.
    wait_until(SOON, "the log", || async { world.rig.broker.logs().contains("listen.public: a change of this") }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_says_nothing_or_too_much_is_sent_away() {
    let world = World::in_public(&[("header_seconds_max", 1), ("header_bytes_max", 8192)]).await;
    let mut silent = anonymous(&world).await;
    let mut slow = anonymous(&world).await;
    slow.send("GET /oauth2/jwks HTTP/1.1\r\nhost: ").await.expect("send");
    let mut idle = anonymous(&world).await;
    assert_eq!(idle.ask("GET", DISCOVERY, None).await.status, 200);
    for line in [&mut silent, &mut slow, &mut idle] {
        line.assert_closed().await;
    }
    let long = format!("GET {DISCOVERY} HTTP/1.1\r\nhost: broker\r\nx-long: {}\r\n\r\n", "x".repeat(9000));
    assert_eq!(anonymous(&world).await.exchange(long).await.status, 431);
    // A body is nobody's business here: it is not waited for.
    let body = format!("POST {DISCOVERY} HTTP/1.1\r\nhost: broker\r\ncontent-length: 1000000000\r\n\r\n");
    assert_eq!(anonymous(&world).await.exchange(body).await.status, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_and_reads_nothing_loses_its_place() {
    let limits = [("unread_seconds_max", 1), ("public_connections_at_once_per_address_max", 1)];
    let world = World::in_public(&limits).await;
    let mut deaf = anonymous(&world).await;
    let many = request("GET", DISCOVERY, None).repeat(100);
    // Its answers fill what the kernels hold for both, and then nothing moves.
    while deaf.send(&many).await.is_ok() {}
    wait_until(SOON, "its place to be free", || async {
        let tcp = TcpStream::connect(public(&world)).await.expect("connect");
        super::public::connector(&world).connect(tcp).await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ages() {
    let world = World::in_public(&[("connection_seconds_max", 10)]).await;
    let mut line = anonymous(&world).await;
    assert_eq!(line.ask("GET", DISCOVERY, None).await.status, 200);
    // Far less than the minute for which it may sit idle.
    let cut = tokio::time::timeout(Duration::from_secs(30), line.assert_closed()).await;
    assert!(cut.is_ok(), "it lives on");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_addresses_together_have_a_bound_too() {
    let world = World::in_public(&[("public_connections_at_once_max", 2)]).await;
    let (_first, _second) = (anonymous(&world).await, anonymous(&world).await);
    let tcp = TcpStream::connect(public(&world)).await.expect("connect");
    assert!(super::public::connector(&world).connect(tcp).await.is_err(), "a third is let in");
    assert!(world.rig.hits("public_connections_at_once_max").await > 0.0);
    assert_eq!(world.token("payments:write").await.status, 200, "the API has places of its own");
}
