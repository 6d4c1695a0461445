//! Changing files under a running identity.

use crate::kit::{BILLING, BROKER, HOUR, Home, id, meet};
use leasehold_identity::{Connector, Identity};

#[tokio::test]
async fn an_empty_bundle_ends_everybody() {
    let home = Home::new();
    home.issue("broker", BROKER, HOUR);
    let server = Identity::load(home.config("broker", &[])).expect("an identity");
    let client = home.identity("billing", BILLING);
    let connector = Connector::new(client, id(BROKER));
    let (_, peer) = meet(&server, &connector).await.server.expect("taken");
    assert_eq!(server.recheck(&peer, peer.not_after_unix_ms - 1), Ok(()));

    home.put("bundle.pem", r#"{"keys":[]}"#);
    assert!(server.reload().changed);
    let refused = server
        .recheck(&peer, peer.not_after_unix_ms - 1)
        .expect_err("refused");
    assert_eq!(refused.reason(), "untrusted_chain");
    let refused = meet(&server, &connector).await.server.expect_err("refused");
    assert_eq!(refused.reason(), "untrusted_chain");
    assert_eq!(refused.claimed_spiffe_id_unverified(), Some(&id(BILLING)));
    assert!(!server.status().svid_ok);
}
