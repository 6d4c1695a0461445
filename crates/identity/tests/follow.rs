//! Changing files under a running identity, and what that means for who is connected.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;

use leasehold_identity::dev::DevCa;
use leasehold_identity::{Connector, Identity, IdentityError, Peer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::kit::{BILLING, BROKER, DEADLINE, DOMAIN, HOUR, Home, domain, id, meet};

/// A server, somebody who can connect to it, and a peer that has.
async fn connected() -> (Home, Arc<Identity>, Connector, Peer) {
    let home = Home::new();
    home.issue("broker", BROKER, HOUR);
    let server = Identity::load(home.config("broker", &[])).expect("an identity");
    let client = home.identity("billing", BILLING);
    let connector = Connector::new(client, id(BROKER));
    let (_, peer) = meet(&server, &connector).await.server.expect("taken");
    (home, server, connector, peer)
}

fn bundle(ca: &DevCa, sequence: u64) -> String {
    let mut document: serde_json::Value = serde_json::from_str(&ca.bundle_jwks()).expect("JSON");
    document["spiffe_sequence"] = sequence.into();
    document.to_string()
}

#[tokio::test]
async fn an_empty_bundle_ends_everybody() {
    let (home, server, connector, peer) = connected().await;
    assert_eq!(server.recheck(&peer, peer.not_after_unix_ms - 1), Ok(()));

    home.put("bundle.pem", r#"{"keys":[]}"#);
    assert!(server.reload().changed);
    let refused = server.recheck(&peer, peer.not_after_unix_ms - 1).expect_err("refused");
    assert_eq!(refused.reason(), "untrusted_chain");
    let refused = meet(&server, &connector).await.server.expect_err("refused");
    assert_eq!(refused.reason(), "untrusted_chain");
    assert_eq!(refused.claimed_spiffe_id_unverified(), Some(&id(BILLING)));
    assert!(!server.status().svid_ok);

    home.put("bundle.pem", home.ca.bundle_pem());
    assert!(server.reload().changed);
    assert_eq!(server.recheck(&peer, peer.not_after_unix_ms - 1), Ok(()));
}

#[tokio::test]
async fn a_peer_expires_on_a_kept_connection() {
    let (_home, server, _, peer) = connected().await;
    assert_eq!(server.recheck(&peer, peer.not_after_unix_ms), Ok(()));
    let refused = server.recheck(&peer, peer.not_after_unix_ms + 1).expect_err("refused");
    assert_eq!(refused.reason(), "expired");
}

#[tokio::test]
async fn a_rotated_authority_keeps_those_it_still_holds() {
    let (home, server, _, peer) = connected().await;
    let next = DevCa::create(&domain(DOMAIN)).expect("an authority");
    let now = peer.not_after_unix_ms - 1;

    home.put("bundle.pem", format!("{}{}", home.ca.bundle_pem(), next.bundle_pem()));
    assert!(server.reload().changed);
    assert_eq!(server.recheck(&peer, now), Ok(()));
    // A clone asks the same question.
    assert_eq!(server.recheck(&peer.clone(), now), Ok(()));

    home.put("bundle.pem", next.bundle_pem());
    assert!(server.reload().changed);
    let refused = server.recheck(&peer, now).expect_err("refused");
    assert_eq!(refused.reason(), "untrusted_chain");
}

#[tokio::test]
async fn a_domain_that_is_no_longer_trusted() {
    let home = Home::new();
    home.issue("broker", BROKER, HOUR);
    let partner = DevCa::create(&domain("partner.example")).expect("an authority");
    home.put("partner.pem", partner.bundle_pem());
    let file = home.path("partner.pem");
    let with_partner = home.config("broker", &[("partner.example", &file)]);
    let server = Identity::load(with_partner.clone()).expect("an identity");
    let shop = partner.issue(&id("spiffe://partner.example/shop"), HOUR).expect("an SVID");
    let (cert, key) = shop.write_to(home.dir.path(), "shop").expect("written");
    let client = Identity::load(leasehold_identity::IdentityConfig {
        trust_domain: domain("partner.example"),
        svid: leasehold_identity::SvidSource::Files { cert, key },
        ..with_partner
    });
    let connector = Connector::new(client.expect("an identity"), id(BROKER));
    let (_, peer) = meet(&server, &connector).await.server.expect("taken");

    server.reconfigure(home.config("broker", &[])).expect("a good configuration");
    let refused = server.recheck(&peer, peer.not_after_unix_ms - 1).expect_err("refused");
    assert_eq!(refused.reason(), "unknown_trust_domain");

    let nowhere = home.path("nowhere.pem");
    let bad = home.config("broker", &[("other.example", &nowhere)]);
    assert!(matches!(server.reconfigure(bad), Err(IdentityError::Read { .. })));
    assert_eq!(server.status().domains.len(), 1);
}

#[tokio::test]
async fn a_bad_file_keeps_the_old_one_and_says_so() {
    let (home, server, connector, peer) = connected().await;
    let before = server.generation();
    for bad in ["garbage", "{\"keys\": [", "-----BEGIN CERTIFICATE-----\nAAAA\n"] {
        home.put("bundle.pem", bad);
        let found = server.reload();
        assert!(!found.changed, "{bad}");
        assert!(matches!(found.errors[..], [IdentityError::BadBundle { .. }]), "{bad}");
        assert!(server.status().domains[0].last_error.is_some(), "{bad}");
    }
    std::fs::remove_file(home.path("bundle.pem")).expect("removed");
    assert!(matches!(server.reload().errors[..], [IdentityError::Read { .. }]));
    assert_eq!(server.generation(), before);
    assert_eq!(server.recheck(&peer, peer.not_after_unix_ms - 1), Ok(()));
    meet(&server, &connector).await.server.expect("taken");

    home.put("bundle.pem", home.ca.bundle_pem());
    assert!(server.reload().errors.is_empty());
    assert_eq!(server.status().domains[0].last_error, None);
}

#[tokio::test]
async fn the_sequence_never_goes_back() {
    let (home, server, _, _) = connected().await;
    home.put("bundle.pem", bundle(&home.ca, 7));
    assert!(server.reload().changed);
    let next = DevCa::create(&domain(DOMAIN)).expect("an authority");
    home.put("bundle.pem", bundle(&next, 6));
    let found = server.reload();
    assert!(!found.changed);
    assert!(found.errors[0].to_string().contains("spiffe_sequence 6 is older than 7"));
    assert_eq!(server.status().domains[0].sequence, Some(7));
    home.put("bundle.pem", bundle(&next, 8));
    assert!(server.reload().changed);
}

#[tokio::test]
async fn a_torn_pair_waits_for_its_other_half() {
    let (home, server, connector, _) = connected().await;
    home.issue("next", BROKER, HOUR);
    std::fs::copy(home.path("next.pem"), home.path("broker.pem")).expect("copied");
    let found = server.reload();
    assert!(matches!(found.errors[..], [IdentityError::KeyMismatch { .. }]));
    assert!(server.status().svid_last_error.is_some());
    meet(&server, &connector).await.server.expect("taken");

    std::fs::copy(home.path("next-key.pem"), home.path("broker-key.pem")).expect("copied");
    assert!(server.reload().changed);
    assert_eq!(server.status().svid_last_error, None);
}

#[tokio::test]
async fn what_is_refused_at_start() {
    let home = Home::new();
    home.issue("broker", BROKER, HOUR);
    let config = home.config("broker", &[]);

    let mut foreign = config.clone();
    foreign.trust_domain = domain("partner.example");
    let file = home.path("bundle.pem");
    foreign.bundles.insert(domain("partner.example"), leasehold_identity::BundleSource::File(file));
    assert!(matches!(Identity::load(foreign), Err(IdentityError::ForeignSvid { .. })));

    let mut without = config.clone();
    without.bundles.clear();
    assert!(matches!(Identity::load(without), Err(IdentityError::NoOwnBundle(_))));

    home.put("broker.pem", home.ca.bundle_pem());
    let error = Identity::load(config.clone()).expect_err("refused");
    assert!(matches!(error, IdentityError::NotAnSvid { .. }), "{error}");

    home.put("broker.pem", "nothing");
    assert!(matches!(Identity::load(config.clone()), Err(IdentityError::BadCertificate { .. })));

    home.issue("broker", BROKER, HOUR);
    home.put("broker-key.pem", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n");
    let error = Identity::load(config.clone()).expect_err("refused");
    assert!(matches!(error, IdentityError::BadKey { .. }), "{error}");
    assert!(!error.to_string().contains("c2VjcmV0"));

    home.put("broker-key.pem", vec![b' '; 1024 * 1024 + 1]);
    assert!(matches!(Identity::load(config), Err(IdentityError::TooLarge { .. })));
}

#[tokio::test]
async fn an_open_key_is_told() {
    let home = Home::new();
    let server = home.identity("broker", BROKER);
    assert!(server.status().warnings.is_empty());
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(home.path("broker-key.pem"), open).expect("changed");
    server.reload();
    assert_eq!(server.status().warnings.len(), 1);
}

/// The whole way: files change, the watcher sees it, new handshakes use it, and who is connected stays so.
#[tokio::test]
async fn rotation_is_picked_up_under_an_open_connection() {
    let home = Home::new();
    home.issue("broker", BROKER, HOUR);
    let server = Identity::load(home.config("broker", &[])).expect("an identity");
    let watching = server.spawn_watch();
    let mut generations = server.subscribe();
    let client = home.identity("billing", BILLING);
    let connector = Connector::new(client, id(BROKER));
    let met = meet(&server, &connector).await;
    let (mut ours, peer) = met.server.expect("taken");
    let mut theirs = met.client.expect("greeted");
    let first = server.status();

    home.issue("broker", BROKER, 2 * HOUR);
    wait(&mut generations, |_| server.status().svid_not_after_unix_ms > first.svid_not_after_unix_ms).await;
    meet(&server, &connector).await.client.expect("greeted by the new one");

    theirs.write_all(b"ping").await.expect("sent");
    theirs.flush().await.expect("sent");
    let mut read = [0; 4];
    ours.read_exact(&mut read).await.expect("read");
    assert_eq!(&read, b"ping");
    assert_eq!(server.recheck(&peer, peer.not_after_unix_ms - 1), Ok(()));
    watching.abort();
}

/// Kubernetes swaps the symlink `..data`; the names that are configured never change.
#[tokio::test]
async fn a_mounted_volume_is_swapped() {
    let home = Home::new();
    let volume = |generation: &str, ttl| {
        let dir = home.path(generation);
        std::fs::create_dir(&dir).expect("made");
        let svid = home.ca.issue(&id(BROKER), ttl).expect("an SVID");
        svid.write_to(&dir, "broker").expect("written");
        let link = home.path("..data_tmp");
        symlink(generation, &link).expect("linked");
        std::fs::rename(link, home.path("..data")).expect("swapped");
    };
    volume("..2026_01", HOUR);
    for name in ["broker.pem", "broker-key.pem"] {
        symlink(format!("..data/{name}"), home.path(name)).expect("linked");
    }
    let server = Identity::load(home.config("broker", &[])).expect("an identity");
    let first = server.status().svid_not_after_unix_ms;
    let mut generations = server.subscribe();
    let watching = server.spawn_watch();
    volume("..2026_02", 2 * HOUR);
    wait(&mut generations, |_| server.status().svid_not_after_unix_ms > first).await;
    watching.abort();
}

#[tokio::test]
async fn the_watcher_ends_with_its_identity() {
    let home = Home::new();
    let server = home.identity("broker", BROKER);
    let watching = server.spawn_watch();
    drop(server);
    // It notices at its next pass; a change in the directory brings that about.
    let ended = async {
        let mut watching = watching;
        loop {
            home.put("other.pem", "x");
            let pause = std::time::Duration::from_millis(50);
            if tokio::time::timeout(pause, &mut watching).await.is_ok() {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, ended).await.expect("in time");
}

async fn wait(generations: &mut tokio::sync::watch::Receiver<u64>, done: impl FnMut(&u64) -> bool) {
    let waited = tokio::time::timeout(DEADLINE, generations.wait_for(done)).await;
    waited.expect("in time").expect("the identity lives");
}
