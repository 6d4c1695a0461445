//! The development authority, and descriptions of certificates.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use leasehold_identity::dev::{DevCa, DevError};
use leasehold_identity::{Connector, Identity, InspectError, inspect};

use crate::kit::{BILLING, BROKER, DOMAIN, HOUR, Home, domain, id, meet};
use crate::mint::{authority, uri};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

#[tokio::test]
async fn an_authority_is_kept_in_files() {
    let home = Home::new();
    home.ca.save(home.dir.path()).expect("saved");
    assert_eq!(mode(&home.path("ca-key.pem")), 0o600);
    let again = DevCa::load(home.dir.path()).expect("loaded");
    assert_eq!(again.trust_domain(), home.ca.trust_domain());
    assert_eq!(again.bundle_pem(), home.ca.bundle_pem());

    // What the loaded one issues, the bundle of the first one verifies.
    let server = home.identity("broker", BROKER);
    let svid = again.issue(&id(BILLING), HOUR).expect("an SVID");
    let (cert, key) = svid.write_to(home.dir.path(), "billing").expect("written");
    assert_eq!(mode(&key), 0o600);
    let client = Identity::from_files(&cert, &key, &home.path("bundle.pem")).expect("an identity");
    assert_eq!(client.status().svid_not_after_unix_ms, svid.not_after_unix_ms);
    meet(&server, &Connector::new(client, id(BROKER))).await.server.expect("taken");
    let left: Vec<_> = std::fs::read_dir(home.dir.path()).expect("listed").collect();
    assert!(left.iter().flatten().all(|entry| !entry.file_name().to_string_lossy().contains("tmp")));
}

#[test]
fn what_an_authority_refuses() {
    let ca = DevCa::create(&domain(DOMAIN)).expect("an authority");
    let other = ca.issue(&id("spiffe://partner.example/x"), HOUR);
    assert!(matches!(other, Err(DevError::OtherTrustDomain { .. })));
    let root = ca.issue(&id("spiffe://prod.example.org"), HOUR);
    assert!(matches!(root, Err(DevError::RootPath(_))));
    for ttl in [Duration::ZERO, Duration::MAX, Duration::from_secs(300_000_000_000)] {
        assert!(matches!(ca.issue(&id(BILLING), ttl), Err(DevError::Lifetime(_))), "{ttl:?}");
    }
    let home = Home::new();
    assert!(matches!(DevCa::load(home.dir.path()), Err(DevError::Read(_))));
    home.ca.save(home.dir.path()).expect("saved");
    home.put("ca.pem", ca.bundle_pem());
    assert!(matches!(DevCa::load(home.dir.path()), Err(DevError::NotADevCa { .. })));
}

#[test]
fn a_good_svid_is_described() {
    let ca = DevCa::create(&domain(DOMAIN)).expect("an authority");
    let svid = ca.issue(&id(BILLING), HOUR).expect("an SVID");
    let both = format!("{}{}", svid.cert_pem, ca.bundle_pem());
    let reports = inspect(both.as_bytes()).expect("reports");
    let [leaf, root] = &reports[..] else { panic!("two certificates") };
    assert_eq!(leaf.spiffe_id, Some(id(BILLING)));
    assert_eq!(leaf.not_after_unix_ms, svid.not_after_unix_ms);
    assert_eq!(leaf.key_usage.as_deref(), Some("Digital Signature"));
    assert!(!leaf.is_ca && root.is_ca);
    assert!(leaf.violations.is_empty() && root.violations.is_empty());
    assert_eq!(leaf.sans, [format!("URI({BILLING})")]);
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let signer = authority("x", |_| {});
    let shown = signer.leaf(|p| {
        p.subject_alt_names = vec![uri("spiffe://prod.example.org")];
        p.key_usages.clear();
        p.extended_key_usages.truncate(1);
    });
    let report = leasehold_identity::inspect_der(&shown.chain[0]).expect("a report");
    assert_eq!(report.violations.len(), 3, "{:?}", report.violations);
    let tricky = signer.leaf(|p| p.subject_alt_names = vec![uri("spiffe://a/\u{1b}[2J")]);
    let report = leasehold_identity::inspect_der(&tricky.chain[0]).expect("a report");
    assert!(!report.sans[0].contains('\u{1b}'));
    assert!(matches!(inspect(b"nothing"), Err(InspectError::NoCertificate)));
    let damaged = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(inspect(damaged), Err(InspectError::Unreadable { number: 1, .. })));
}
