//! What stands for IAM Roles Anywhere takes AWS's own client and refuses what AWS refuses.

use crate::{ChainedSvid, RequestKey, RolesAnywhere};

#[tokio::test(flavor = "multi_thread")]
async fn it_takes_awss_own_client_by_either_kind_of_key() {
    for kind in [RequestKey::Ecdsa, RequestKey::Rsa] {
        let svid = ChainedSvid::new(kind);
        let peer = RolesAnywhere::start(svid.root_pem(), true).await;
        let id = peer.ask(&svid.leaf(), &svid.key(), Some(&svid.between())).unwrap();
        assert!(id.starts_with("ASIA"), "{kind:?}: {id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_refuses_who_proves_nothing() {
    let (svid, other) = (ChainedSvid::new(RequestKey::Ecdsa), ChainedSvid::new(RequestKey::Ecdsa));
    let peer = RolesAnywhere::start(svid.root_pem(), true).await;
    let stranger = peer.ask(&other.leaf(), &other.key(), Some(&other.between())).unwrap_err();
    assert!(stranger.contains("HTTP 403") && stranger.contains("Untrusted signing certificate"), "{stranger}");
    let borrowed = peer.ask(&svid.leaf(), &other.key(), Some(&svid.between())).unwrap_err();
    assert!(borrowed.contains("HTTP 403") && borrowed.contains("does not match the signature"), "{borrowed}");
    let gap = peer.ask(&svid.leaf(), &svid.key(), None).unwrap_err();
    assert!(gap.contains("Untrusted signing certificate"), "{gap}");

    // The other profile takes no names.
    let peer = RolesAnywhere::start(svid.root_pem(), false).await;
    let named = peer.ask(&svid.leaf(), &svid.key(), Some(&svid.between())).unwrap_err();
    assert!(named.contains("HTTP 400") && named.contains("roleSessionName"), "{named}");
}
