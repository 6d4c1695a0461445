//! Rules 12 to 15 on chains, and validity in time.

use std::path::Path;
use std::sync::Arc;

use leasehold_identity::{Identity, SvidError};
use rcgen::{BasicConstraints, IsCa, KeyUsagePurpose};

use crate::kit::{BROKER, HOUR, Home, domain, id};
use crate::mint::{Shown, Signer, authority, permitted, show, uri, valid};

const PARTNER: &str = "spiffe://partner.example/ns/shop";

/// A server that trusts these authorities for `prod.example.org`.
fn server(signers: &[&Signer]) -> (Home, Arc<Identity>) {
    let home = Home::new();
    let server = home.identity("broker", BROKER);
    let bundle: Vec<_> = signers.iter().map(|signer| signer.pem.as_str()).collect();
    home.put("bundle.pem", bundle.concat());
    assert!(server.reload().errors.is_empty());
    (home, server)
}

async fn taken(server: &Arc<Identity>, shown: &Shown) {
    show(server, shown).await.expect("taken");
}

async fn refused(server: &Arc<Identity>, shown: &Shown, reason: &str) {
    let error = show(server, shown).await.expect_err("refused");
    assert_eq!(error.reason(), reason, "{error}");
}

#[tokio::test]
async fn the_bundle_of_its_own_domain_and_no_other() {
    let home = Home::new();
    home.issue("broker", BROKER, HOUR);
    let (ours, partner) = (authority("ours", |_| {}), authority("partner", |_| {}));
    home.put("bundle.pem", &ours.pem);
    home.put("partner.pem", &partner.pem);
    let partner_file = home.path("partner.pem");
    let config = home.config("broker", &[("partner.example", Path::new(&partner_file))]);
    let server = Identity::load(config).expect("an identity");

    taken(&server, &ours.leaf(|_| {})).await;
    taken(&server, &partner.leaf(|p| p.subject_alt_names = vec![uri(PARTNER)])).await;
    // Each authority vouches for its own domain only, though both are trusted.
    refused(&server, &partner.leaf(|_| {}), "untrusted_chain").await;
    refused(&server, &ours.leaf(|p| p.subject_alt_names = vec![uri(PARTNER)]), "untrusted_chain").await;
    let stranger = ours.leaf(|p| p.subject_alt_names = vec![uri("spiffe://stranger.example/x")]);
    let error = show(&server, &stranger).await.expect_err("refused");
    assert_eq!(error.reason(), "unknown_trust_domain");
    assert_eq!(error.svid_error(), Some(&SvidError::UnknownTrustDomain(domain("stranger.example"))));
    assert_eq!(error.claimed_spiffe_id_unverified(), Some(&id("spiffe://stranger.example/x")));
}

#[tokio::test]
async fn an_authority_of_the_same_name_with_another_key() {
    let (real, forged) = (authority("root", |_| {}), authority("root", |_| {}));
    let (_home, server) = server(&[&real]);
    taken(&server, &real.leaf(|_| {})).await;
    refused(&server, &forged.leaf(|_| {}), "untrusted_chain").await;
    refused(&server, &forged.leaf(|_| {}).with(&[&forged]), "untrusted_chain").await;
}

#[tokio::test]
async fn validity_in_time() {
    let root = authority("root", |_| {});
    let (_home, server) = server(&[&root]);
    refused(&server, &root.leaf(|p| valid(p, -7200, -60)), "expired").await;
    refused(&server, &root.leaf(|p| valid(p, 3600, 7200)), "not_yet_valid").await;

    let stale = root.intermediate(|p| valid(p, -7200, -60));
    refused(&server, &stale.leaf(|_| {}).with(&[&stale]), "expired").await;
    let early = root.intermediate(|p| valid(p, 3600, 7200));
    refused(&server, &early.leaf(|_| {}).with(&[&early]), "not_yet_valid").await;
}

#[tokio::test]
async fn authorities_out_of_their_time() {
    let (ended, coming) = (authority("ended", |p| valid(p, -7200, -60)), authority("coming", |p| valid(p, 3600, 7200)));
    let present = authority("present", |_| {});
    let (_home, server) = server(&[&ended, &coming, &present]);
    taken(&server, &present.leaf(|_| {})).await;
    refused(&server, &ended.leaf(|_| {}), "untrusted_chain").await;
    // A key that is published ahead is kept, and not used before its time.
    refused(&server, &coming.leaf(|_| {}), "untrusted_chain").await;
    let status = server.status();
    assert_eq!(status.domains[0].authorities, 2);
    assert_eq!(status.domains[0].ignored, ["certificate 1 is left out: it has expired"]);
}

#[tokio::test]
async fn an_authority_that_ends_while_in_use() {
    let root = authority("root", |p| valid(p, -60, 3600));
    let (_home, server) = server(&[&root]);
    let peer = show(&server, &root.leaf(|p| valid(p, -60, 10 * 3600))).await.expect("taken");
    let end = server.status().domains[0].earliest_not_after_unix_ms.expect("an end");
    assert_eq!(server.recheck(&peer, end), Ok(()));
    let error = server.recheck(&peer, end + 1000).expect_err("refused");
    assert_eq!(error.reason(), "untrusted_chain");
}

#[tokio::test]
async fn intermediates() {
    let root = authority("root", |_| {});
    let (_home, server) = server(&[&root]);
    let good = root.intermediate(|p| p.subject_alt_names = vec![uri("spiffe://prod.example.org")]);
    taken(&server, &good.leaf(|_| {}).with(&[&good])).await;
    // The root sent along is needless and harmless; a missing link is neither.
    taken(&server, &good.leaf(|_| {}).with(&[&good, &root])).await;
    refused(&server, &good.leaf(|_| {}), "untrusted_chain").await;

    let no_sign = root.intermediate(|p| p.key_usages = vec![KeyUsagePurpose::CrlSign]);
    refused(&server, &no_sign.leaf(|_| {}).with(&[&no_sign]), "bad_intermediate").await;
    let no_usage = root.intermediate(|p| p.key_usages.clear());
    refused(&server, &no_usage.leaf(|_| {}).with(&[&no_usage]), "bad_intermediate").await;
    let no_ca = root.intermediate(|p| p.is_ca = IsCa::ExplicitNoCa);
    refused(&server, &no_ca.leaf(|_| {}).with(&[&no_ca]), "bad_intermediate").await;
    let workload = root.intermediate(|p| p.subject_alt_names = vec![uri("spiffe://prod.example.org/ca")]);
    refused(&server, &workload.leaf(|_| {}).with(&[&workload]), "bad_intermediate").await;
}

#[tokio::test]
async fn an_intermediate_is_no_peer() {
    let root = authority("root", |_| {});
    let (_home, server) = server(&[&root]);
    let key = crate::mint::key();
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names = vec![uri("spiffe://prod.example.org/ca")];
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    valid(&mut params, -60, 3600);
    let cert = params.signed_by(&key, &root.issuer).expect("signed");
    let chain = vec![cert.into()];
    refused(&server, &Shown { chain, key }, "ca_leaf").await;
}

#[tokio::test]
async fn a_workload_cannot_vouch_for_others() {
    let root = authority("root", |_| {});
    let (_home, server) = server(&[&root]);
    let workload = root.intermediate(|p| {
        p.is_ca = IsCa::ExplicitNoCa;
        p.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        p.subject_alt_names = vec![uri("spiffe://prod.example.org/ns/evil")];
    });
    let forged = workload.leaf(|p| p.subject_alt_names = vec![uri(BROKER)]).with(&[&workload]);
    refused(&server, &forged, "bad_intermediate").await;
}

#[tokio::test]
async fn path_length() {
    let root = authority("root", |p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    let (_home, server) = server(&[&root]);
    let first = root.intermediate(|p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    taken(&server, &first.leaf(|_| {}).with(&[&first])).await;
    let second = first.intermediate(|p| {
        p.distinguished_name.push(rcgen::DnType::OrganizationName, "second");
    });
    refused(&server, &second.leaf(|_| {}).with(&[&second, &first]), "untrusted_chain").await;
    let many: Vec<_> = std::iter::repeat_n(&first, 10).collect();
    refused(&server, &first.leaf(|_| {}).with(&many), "malformed").await;
}

#[tokio::test]
async fn uri_name_constraints_refuse_the_whole_chain() {
    let constrained = |p: &mut rcgen::CertificateParams| p.custom_extensions = vec![permitted(6, "prod.example.org")];
    let root = authority("root", constrained);
    let free = authority("free", |_| {});
    let (_home, server) = server(&[&root, &free]);
    assert!(server.status().domains[0].has_uri_name_constraints);
    refused(&server, &root.leaf(|_| {}), "name_constraints").await;
    taken(&server, &free.leaf(|_| {})).await;
    let below = free.intermediate(constrained);
    refused(&server, &below.leaf(|_| {}).with(&[&below]), "name_constraints").await;
}

#[tokio::test]
async fn dns_name_constraints_are_judged() {
    let root = authority("root", |p| p.custom_extensions = vec![permitted(2, "example.org")]);
    let (_home, server) = server(&[&root]);
    assert!(!server.status().domains[0].has_uri_name_constraints);
    let named = |name: &'static str| {
        root.leaf(move |p| {
            let name = name.try_into().expect("ASCII");
            p.subject_alt_names.push(rcgen::SanType::DnsName(name));
        })
    };
    taken(&server, &named("web.example.org")).await;
    refused(&server, &named("web.example.com"), "name_constraints").await;
}
