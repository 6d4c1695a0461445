//! Real handshakes over loopback.

use crate::kit::{BILLING, BROKER, Home, id, meet};
use leasehold_identity::Connector;

#[tokio::test]
async fn two_workloads_meet() {
    let home = Home::new();
    let server = home.identity("broker", BROKER);
    let client = home.identity("billing", BILLING);
    let met = meet(&server, &Connector::new(client.clone(), id(BROKER))).await;
    let (_, peer) = met.server.expect("taken");
    assert_eq!(peer.spiffe_id, id(BILLING));
    assert_eq!(
        peer.not_after_unix_ms,
        client.status().svid_not_after_unix_ms
    );
    assert_eq!(peer.cert_sha256.len(), 64);
    let (_, tls) = met.client.as_ref().expect("greeted").get_ref();
    assert_eq!(tls.alpn_protocol(), Some(&b"h2"[..]));
    assert!(server.status().svid_ok && client.status().svid_ok);
}

#[tokio::test]
async fn a_server_of_another_name_is_refused() {
    let home = Home::new();
    let server = home.identity("broker", "spiffe://prod.example.org/ns/evil");
    let client = home.identity("billing", BILLING);
    let met = meet(&server, &Connector::new(client, id(BROKER))).await;
    let refused = met.client.expect_err("refused");
    assert_eq!(refused.reason(), "wrong_server_id");
    assert!(met.server.is_err());
}
