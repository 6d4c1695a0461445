//! Real handshakes over loopback.

use std::sync::Arc;

use leasehold_identity::dev::DevCa;
use leasehold_identity::{Connector, Identity};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, HandshakeKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::kit::{BILLING, BROKER, DEADLINE, HOUR, Home, domain, id, meet, socket_pair};
use crate::mint::{AnyServer, call, show};

#[tokio::test]
async fn two_workloads_meet() {
    let home = Home::new();
    let server = home.identity("broker", BROKER);
    let client = home.identity("billing", BILLING);
    let met = meet(&server, &Connector::new(client.clone(), id(BROKER))).await;
    let (_, peer) = met.server.expect("taken");
    assert_eq!(peer.spiffe_id, id(BILLING));
    assert_eq!(peer.not_after_unix_ms, client.status().svid_not_after_unix_ms);
    let pem = std::fs::read(home.path("billing.pem")).expect("read");
    let report = &leasehold_identity::inspect(&pem).expect("a report")[0];
    assert_eq!(peer.cert_sha256, report.sha256);
    let (_, tls) = met.client.as_ref().expect("greeted").get_ref();
    assert_eq!(tls.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert!(server.status().svid_ok && client.status().svid_ok);
}

/// A client that would rather speak HTTP/2 gets HTTP/1.1; one that speaks nothing else is refused.
#[tokio::test]
async fn only_http_1_1_is_spoken() {
    let home = Home::new();
    let server = home.identity("broker", BROKER);
    let client = home.identity("billing", BILLING);
    let connector = Connector::new(client.clone(), id(BROKER)).with_alpn([b"h2".to_vec(), b"http/1.1".to_vec()]);
    let met = meet(&server, &connector).await;
    let (_, tls) = met.client.as_ref().expect("greeted").get_ref();
    assert_eq!(tls.alpn_protocol(), Some(&b"http/1.1"[..]));
    let stranger = Connector::new(client, id(BROKER)).with_alpn([b"h2".to_vec()]);
    assert_eq!(meet(&server, &stranger).await.server.expect_err("refused").reason(), "tls");
}

#[tokio::test]
async fn a_server_of_another_name_is_refused() {
    let home = Home::new();
    let server = home.identity("broker", "spiffe://prod.example.org/ns/evil");
    let client = home.identity("billing", BILLING);
    let met = meet(&server, &Connector::new(client, id(BROKER))).await;
    assert_eq!(met.client.expect_err("refused").reason(), "wrong_server_id");
    assert!(met.server.is_err());
}

#[tokio::test]
async fn a_server_of_another_authority_is_refused() {
    let (home, other) = (Home::new(), Home::new());
    let server = other.identity("broker", BROKER);
    let client = home.identity("billing", BILLING);
    let refused = meet(&server, &Connector::new(client, id(BROKER))).await.client;
    let refused = refused.expect_err("refused");
    assert_eq!(refused.reason(), "untrusted_chain");
    assert_eq!(refused.claimed_spiffe_id_unverified(), Some(&id(BROKER)));
}

#[tokio::test]
async fn a_client_that_the_server_does_not_know() {
    let (home, other) = (Home::new(), Home::new());
    let server = home.identity("broker", BROKER);
    let client = other.identity("billing", BILLING);
    std::fs::copy(home.path("bundle.pem"), other.path("bundle.pem")).expect("copied");
    client.reload();
    let met = meet(&server, &Connector::new(client, id(BROKER))).await;
    assert_eq!(met.server.expect_err("refused").reason(), "untrusted_chain");
    // The client learns of it by an alert, at its first read.
    let refused = met.client.expect_err("refused");
    assert_eq!(refused.reason(), "tls");
    assert!(refused.to_string().contains("UnknownCA"), "{refused}");
}

#[tokio::test]
async fn an_alert_says_what_the_server_thought() {
    let home = Home::new();
    let acceptor = home.identity("broker", BROKER).acceptor();
    let (ours, theirs) = socket_pair().await;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(anonymous()));
    let name = ServerName::try_from("localhost").expect("a name");
    let read = async {
        let mut stream = connector.connect(name, theirs).await.expect("connected");
        stream.read_u8().await.expect_err("refused")
    };
    let (_, error) = tokio::join!(acceptor.accept(ours), read);
    let said = leasehold_identity::explain_alert(&error);
    assert_eq!(said, Some("the server demands a client certificate"));
    assert_eq!(leasehold_identity::explain_alert(&std::io::Error::other("x")), None);
}

fn anonymous() -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer))
        .with_no_client_auth()
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let home = Home::new();
    let server = home.identity("broker", BROKER);
    let refused = call(&server, anonymous()).await.expect_err("refused");
    assert_eq!(refused.reason(), "no_certificate");
    assert_eq!(refused.claimed_spiffe_id_unverified(), None);
}

/// A certificate without its key proves nothing.
#[tokio::test]
async fn a_stolen_certificate_is_useless() {
    let home = Home::new();
    let server = home.identity("broker", BROKER);
    home.issue("billing", BILLING, HOUR);
    let pem = std::fs::read(home.path("billing.pem")).expect("read");
    let shown = crate::mint::Shown {
        chain: vec![CertificateDer::from_pem_slice(&pem).expect("a certificate")],
        key: crate::mint::key(),
    };
    let refused = show(&server, &shown).await.expect_err("refused");
    assert_eq!(refused.reason(), "tls");
}

/// A hello that offers nothing newer than TLS 1.2, as RFC 5246 7.4.1.2 writes it.
fn hello_of_tls12() -> Vec<u8> {
    let mut hello = vec![0x03, 0x03];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x2b, 1, 0]);
    let groups = [0x00, 0x0a, 0, 4, 0, 2, 0, 0x17];
    let schemes = [0x00, 0x0d, 0, 4, 0, 2, 4, 3];
    hello.extend([0, 16]);
    hello.extend(groups);
    hello.extend(schemes);
    let length = u8::try_from(hello.len()).expect("short");
    let mut record = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(hello);
    record
}

#[tokio::test]
async fn tls_1_2_is_refused() {
    let home = Home::new();
    let acceptor = home.identity("broker", BROKER).acceptor();
    let (ours, mut theirs) = socket_pair().await;
    let client = async {
        theirs.write_all(&hello_of_tls12()).await.expect("sent");
        let mut answer = Vec::new();
        theirs.read_to_end(&mut answer).await.expect("read");
        answer
    };
    let both = async { tokio::join!(acceptor.accept(ours), client) };
    let (served, answer) = tokio::time::timeout(DEADLINE, both).await.expect("in time");
    assert_eq!(served.expect_err("refused").reason(), "tls");
    // A fatal alert, protocol_version (70).
    assert_eq!(answer[0], 21);
    assert_eq!(answer[answer.len() - 2..], [2, 70]);
}

#[tokio::test]
async fn noise_and_silence() {
    let home = Home::new();
    let acceptor = home.identity("broker", BROKER).acceptor();
    let (ours, mut theirs) = socket_pair().await;
    theirs.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("sent");
    let refused = acceptor.accept(ours).await.expect_err("refused");
    assert_eq!(refused.reason(), "tls");
    let (ours, theirs) = socket_pair().await;
    drop(theirs);
    let refused = acceptor.accept(ours).await.expect_err("refused");
    assert_eq!(refused.reason(), "io");
}

/// A resumed session would not show its certificate again, so there must be none.
#[tokio::test]
async fn resumption_is_never_offered() {
    let home = Home::new();
    let server = home.identity("broker", BROKER);
    home.issue("billing", BILLING, HOUR);
    let cert = CertificateDer::from_pem_file(home.path("billing.pem")).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(home.path("billing-key.pem")).expect("a key");
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer))
        .with_client_auth_cert(vec![cert], key)
        .expect("a configuration");
    config.resumption = Resumption::in_memory_sessions(16);
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    for _ in 0..3 {
        let (ours, theirs) = socket_pair().await;
        let acceptor = server.acceptor();
        let serve = async {
            let (mut stream, _) = acceptor.accept(ours).await.expect("taken");
            stream.write_all(b"x").await.expect("sent");
            stream.flush().await.expect("sent");
            stream
        };
        let name = ServerName::try_from("localhost").expect("a name");
        let talk = async {
            let mut stream = connector.connect(name, theirs).await.expect("connected");
            stream.read_u8().await.expect("greeted");
            stream
        };
        let (_served, stream) = tokio::join!(serve, talk);
        let tls = stream.get_ref().1;
        assert_eq!(tls.tls13_tickets_received(), 0);
        assert_eq!(tls.handshake_kind(), Some(HandshakeKind::Full));
    }
}

#[tokio::test]
async fn a_federated_domain_is_served() {
    let home = Home::new();
    home.issue("broker", BROKER, HOUR);
    let partner = DevCa::create(&domain("partner.example")).expect("an authority");
    home.put("partner.json", partner.bundle_jwks());
    let partner_file = home.path("partner.json");
    let server = Identity::load(home.config("broker", &[("partner.example", &partner_file)])).expect("an identity");

    let other = Home::new();
    let shop = "spiffe://partner.example/ns/shop";
    let svid = partner.issue(&id(shop), HOUR).expect("an SVID");
    let (cert, key) = svid.write_to(other.dir.path(), "shop").expect("written");
    other.put("own.pem", partner.bundle_pem());
    let mut config = home.config("broker", &[("partner.example", &partner_file)]);
    config.trust_domain = domain("partner.example");
    config.svid = leasehold_identity::SvidSource::Files { cert, key };
    let client = Identity::load(config).expect("an identity");
    let (_, peer) = meet(&server, &Connector::new(client, id(BROKER))).await.server.expect("taken");
    assert_eq!(peer.spiffe_id, id(shop));
}
