//! Rules 1 to 11 on leaf certificates: each with the reason that the server gives.

use std::sync::Arc;

use leasehold_identity::Identity;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType};

use crate::kit::{BILLING, BROKER, Home, id};
use crate::mint::{EXTENDED_KEY_USAGE, KEY_USAGE, SUBJECT_ALT_NAME, Signer, authority, der, extension, show, uri};

/// A server that trusts one authority of our own making for `prod.example.org`.
fn server() -> (Home, Signer, Arc<Identity>) {
    let home = Home::new();
    let signer = authority("test", |_| {});
    let server = home.identity("broker", BROKER);
    home.put("bundle.pem", &signer.pem);
    assert!(server.reload().changed);
    (home, signer, server)
}

type Change = Box<dyn FnOnce(&mut CertificateParams)>;

fn case(change: impl FnOnce(&mut CertificateParams) + 'static) -> Change {
    Box::new(change)
}

fn with_id(text: impl Into<String>) -> Change {
    let text = text.into();
    case(move |params| params.subject_alt_names = vec![uri(&text)])
}

async fn good(cases: Vec<(&str, Change)>) {
    let (_home, signer, server) = server();
    for (name, change) in cases {
        let shown = signer.leaf(change);
        let peer = show(&server, &shown).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(peer.spiffe_id, id(BILLING), "{name}");
    }
}

async fn bad(reason: &str, cases: Vec<(&str, Change)>) {
    let (_home, signer, server) = server();
    for (name, change) in cases {
        let shown = signer.leaf(change);
        let refused = show(&server, &shown).await.err().unwrap_or_else(|| panic!("{name}: it was taken"));
        assert_eq!(refused.reason(), reason, "{name}: {refused}");
    }
}

#[tokio::test]
async fn good_leaves() {
    good(vec![
        ("plain", case(|_| {})),
        (
            "with a DNS name and an address beside the ID",
            case(|p| {
                p.subject_alt_names.push(SanType::DnsName("web.example.org".try_into().expect("ASCII")));
                p.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
            }),
        ),
        (
            "with a subject, so that the SAN is not critical",
            case(|p| {
                p.distinguished_name.push(rcgen::DnType::CommonName, "spiffe://prod.example.org/admin");
            }),
        ),
        ("without extended key usage", case(|p| p.extended_key_usages.clear())),
        (
            "with further extended key usages",
            case(|p| {
                p.extended_key_usages.push(ExtendedKeyUsagePurpose::CodeSigning);
            }),
        ),
        (
            "with key encipherment and agreement beside",
            case(|p| {
                p.key_usages.push(KeyUsagePurpose::KeyEncipherment);
                p.key_usages.push(KeyUsagePurpose::KeyAgreement);
            }),
        ),
        // RFC 5280 4.2.1.9: absent basic constraints mean that the key may not sign certificates.
        ("without basic constraints", case(|p| p.is_ca = IsCa::NoCa)),
    ])
    .await;
}

#[tokio::test]
async fn exactly_one_uri() {
    bad(
        "two_uri_sans",
        vec![
            ("two IDs", case(|p| p.subject_alt_names.push(uri("spiffe://prod.example.org/other")))),
            ("the same ID twice", case(|p| p.subject_alt_names.push(uri(BILLING)))),
            ("an ID and https", case(|p| p.subject_alt_names.push(uri("https://example.org/")))),
            ("https first", case(|p| p.subject_alt_names.insert(0, uri("https://example.org/")))),
            (
                "an ID and a URI that is not text",
                case(|p| {
                    let id = der(0x86, BILLING.as_bytes());
                    let san = der(0x30, &[id, der(0x86, b"\xff\xfe")].concat());
                    p.subject_alt_names.clear();
                    p.custom_extensions = vec![extension(SUBJECT_ALT_NAME, true, &san)];
                }),
            ),
        ],
    )
    .await;
    bad(
        "no_uri_san",
        vec![
            (
                "none at all",
                case(|p| {
                    p.subject_alt_names.clear();
                    p.distinguished_name.push(rcgen::DnType::CommonName, BILLING);
                }),
            ),
            (
                "a DNS name only",
                case(|p| {
                    p.subject_alt_names = vec![SanType::DnsName("web.example.org".try_into().expect("ASCII"))];
                }),
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn the_uri_is_a_spiffe_id() {
    let long = format!("{BILLING}/{}", "a".repeat(2049 - BILLING.len() - 1));
    assert_eq!(long.len(), 2049);
    bad(
        "bad_spiffe_id",
        vec![
            ("another scheme", with_id("https://prod.example.org/ns/billing")),
            ("an upper-case scheme", with_id("SPIFFE://prod.example.org/ns/billing")),
            ("an upper-case trust domain", with_id("spiffe://Prod.example.org/ns/billing")),
            ("too long", with_id(long)),
            ("an empty segment", with_id("spiffe://prod.example.org/ns//billing")),
            ("a dot segment", with_id("spiffe://prod.example.org/ns/../billing")),
            ("a trailing slash", with_id("spiffe://prod.example.org/ns/billing/")),
            ("percent-encoding", with_id("spiffe://prod.example.org/ns/bill%69ng")),
            ("a query", with_id("spiffe://prod.example.org/ns/billing?x=1")),
            ("a fragment", with_id("spiffe://prod.example.org/ns/billing#x")),
            ("a port", with_id("spiffe://prod.example.org:8443/ns/billing")),
            ("a user", with_id("spiffe://root@prod.example.org/ns/billing")),
            ("no trust domain", with_id("spiffe:///ns/billing")),
            ("an empty URI", with_id("")),
            ("a NUL at its end", with_id(format!("{BILLING}\0"))),
            (
                "a URI that is not text",
                case(|p| {
                    p.subject_alt_names.clear();
                    p.custom_extensions = vec![extension(SUBJECT_ALT_NAME, true, &der(0x30, &der(0x86, b"\xff")))];
                }),
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn the_longest_id_is_taken() {
    let (_home, signer, server) = server();
    let longest = format!("{BILLING}/{}", "a".repeat(2048 - BILLING.len() - 1));
    let shown = signer.leaf(with_id(longest.as_str()));
    let peer = show(&server, &shown).await.expect("taken");
    assert_eq!(peer.spiffe_id.as_str(), longest);
}

#[tokio::test]
async fn a_leaf_is_a_workload_and_no_authority() {
    bad("root_path", vec![("the domain itself", with_id("spiffe://prod.example.org"))]).await;
    bad(
        "ca_leaf",
        vec![(
            "cA is true",
            case(|p| {
                p.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            }),
        )],
    )
    .await;
}

#[tokio::test]
async fn key_usage() {
    let digital_signature = [0x03, 0x02, 0x07, 0x80];
    bad(
        "key_usage",
        vec![
            ("absent", case(|p| p.key_usages.clear())),
            ("without digitalSignature", case(|p| p.key_usages = vec![KeyUsagePurpose::KeyEncipherment])),
            ("with keyCertSign", case(|p| p.key_usages.push(KeyUsagePurpose::KeyCertSign))),
            ("with cRLSign", case(|p| p.key_usages.push(KeyUsagePurpose::CrlSign))),
            (
                "not critical",
                case(move |p| {
                    p.key_usages.clear();
                    p.custom_extensions = vec![extension(KEY_USAGE, false, &digital_signature)];
                }),
            ),
            (
                "empty",
                case(|p| {
                    p.key_usages.clear();
                    p.custom_extensions = vec![extension(KEY_USAGE, true, &[0x03, 0x01, 0x00])];
                }),
            ),
        ],
    )
    .await;
    good(vec![(
        "the same by hand, critical",
        case(move |p| {
            p.key_usages.clear();
            p.custom_extensions = vec![extension(KEY_USAGE, true, &digital_signature)];
        }),
    )])
    .await;
}

#[tokio::test]
async fn extended_key_usage() {
    use ExtendedKeyUsagePurpose::{Any, ClientAuth, CodeSigning, ServerAuth};
    let only = |purposes: Vec<ExtendedKeyUsagePurpose>| case(move |p| p.extended_key_usages = purposes);
    bad(
        "eku",
        vec![
            ("without clientAuth", only(vec![ServerAuth])),
            ("without serverAuth", only(vec![ClientAuth])),
            ("another purpose only", only(vec![CodeSigning])),
            ("any purpose is not both", only(vec![Any])),
        ],
    )
    .await;
}

#[tokio::test]
async fn what_cannot_be_read_is_not_taken_for_absent() {
    bad(
        "malformed",
        vec![
            (
                "an extended key usage of garbage",
                case(|p| {
                    p.extended_key_usages.clear();
                    p.custom_extensions = vec![extension(EXTENDED_KEY_USAGE, false, b"\x05\x00")];
                }),
            ),
            (
                "two key usages",
                case(|p| {
                    p.custom_extensions = vec![extension(KEY_USAGE, true, &[0x03, 0x02, 0x07, 0x80])];
                }),
            ),
            (
                "two lists of names",
                case(|p| {
                    let other = der(0x30, &der(0x86, b"spiffe://prod.example.org/admin"));
                    p.custom_extensions = vec![extension(SUBJECT_ALT_NAME, true, &other)];
                }),
            ),
        ],
    )
    .await;
    bad(
        "untrusted_chain",
        vec![(
            "an unknown critical extension",
            case(|p| {
                p.custom_extensions = vec![extension([1, 3, 6, 1], true, b"\x05\x00")];
            }),
        )],
    )
    .await;
}
