//! Rules 18 to 23: what a trust bundle holds, and what it does not.

use data_encoding::BASE64;
use leasehold_identity::{BundleError, TrustBundle};
use rcgen::KeyUsagePurpose;
use serde_json::{Value, json};

use crate::mint::{Signer, authority, permitted, valid};

fn parse(content: impl AsRef<[u8]>) -> Result<TrustBundle, BundleError> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    TrustBundle::parse(content.as_ref(), i64::try_from(now.as_millis()).expect("small"))
}

fn entry(signer: &Signer) -> Value {
    entry_of(&signer.der)
}

fn entry_of(der: &[u8]) -> Value {
    json!({ "use": "x509-svid", "kty": "EC", "x5c": [BASE64.encode(der)] })
}

fn with(mut entry: Value, key: &str, value: Value) -> Value {
    entry[key] = value;
    entry
}

fn without(mut entry: Value, key: &str) -> Value {
    entry.as_object_mut().expect("an object").remove(key);
    entry
}

#[test]
fn pem() {
    let (a, b) = (authority("a", |_| {}), authority("b", |_| {}));
    let bundle = parse(format!("# ours\n{}\n{}{}", a.pem, b.pem, a.pem)).expect("a bundle");
    assert_eq!(bundle.len(), 2);
    assert_eq!(bundle.sequence(), None);
    assert!(bundle.ignored().is_empty());
    assert!(matches!(parse("no bundle"), Err(BundleError::NotABundle)));
    let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(parse(damaged), Err(BundleError::BadCertificate { number: 1, .. })));
    let cut_off = &a.pem[..a.pem.len() / 2];
    assert!(parse(cut_off).is_err());
}

#[test]
fn odd_entries_are_passed_over_one_by_one() {
    let good = authority("good", |_| {});
    let other = authority("other", |_| {});
    let odd = [
        ("unknown use", with(entry(&other), "use", json!("future-svid"))),
        ("another SVID's use", with(entry(&other), "use", json!("jwt-svid"))),
        ("WIT-SVID", with(entry(&other), "use", json!("wit-svid"))),
        ("no use", without(entry(&other), "use")),
        ("unknown key type", with(entry(&other), "kty", json!("LMS"))),
        ("no key type", without(entry(&other), "kty")),
        ("no certificate", without(entry(&other), "x5c")),
        ("an empty list", with(entry(&other), "x5c", json!([]))),
        ("a text for a list", with(entry(&other), "x5c", json!("x"))),
        ("not base64", with(entry(&other), "x5c", json!(["%%%"]))),
        ("not a certificate", with(entry(&other), "x5c", json!(["AAAA"]))),
        ("a key ID", with(entry(&other), "kid", json!("1"))),
        ("no object", json!("x509-svid")),
    ];
    for (name, odd) in odd {
        let document = json!({ "keys": [odd, entry(&good)], "more": { "x": 1 } });
        let bundle = parse(document.to_string()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(bundle.len(), 1, "{name}");
    }
}

#[test]
fn only_the_first_certificate_is_an_authority() {
    let (a, b) = (authority("a", |_| {}), authority("b", |_| {}));
    let list = json!([BASE64.encode(&a.der), BASE64.encode(&b.der)]);
    let document = json!({ "keys": [with(entry(&a), "x5c", list)] });
    assert_eq!(parse(document.to_string()).expect("a bundle").len(), 1);
}

#[test]
fn an_empty_bundle_is_a_bundle() {
    for empty in ["{\"keys\":[]}", "{\"keys\":[{\"kty\":\"EC\",\"use\":\"jwt-svid\",\"kid\":\"1\"}]}", "", " \n"] {
        assert!(parse(empty).expect("a bundle").is_empty(), "{empty:?}");
    }
}

#[test]
fn what_may_not_sign_is_no_authority() {
    let signers = [
        ("expired", authority("x", |p| valid(p, -7200, -60))),
        ("no authority", authority("x", |p| p.is_ca = rcgen::IsCa::ExplicitNoCa)),
        ("no keyCertSign", authority("x", |p| p.key_usages = vec![KeyUsagePurpose::CrlSign])),
        ("a workload", authority("x", |p| p.subject_alt_names = vec![crate::mint::uri("spiffe://a/b")])),
    ];
    for (name, signer) in signers {
        let as_pem = parse(&signer.pem).expect("a bundle");
        let as_jwks = parse(json!({ "keys": [entry(&signer)] }).to_string()).expect("a bundle");
        for bundle in [as_pem, as_jwks] {
            assert!(bundle.is_empty(), "{name}");
            assert_eq!(bundle.ignored().len(), 1, "{name}");
        }
    }
}

#[test]
fn a_root_without_any_key_usage_is_an_authority() {
    let plain = authority("x", |p| p.key_usages.clear());
    assert_eq!(parse(&plain.pem).expect("a bundle").len(), 1);
}

#[test]
fn bad_documents_are_refused_whole() {
    for bad in [
        "{",
        "{}",
        "{\"keys\":{}}",
        "{\"keys\":[],\"spiffe_sequence\":-1}",
        "{\"keys\":[],\"spiffe_sequence\":1.5}",
        "{\"keys\":[],\"spiffe_sequence\":\"1\"}",
        "{\"keys\":[],\"spiffe_sequence\":18446744073709551616}",
        "{\"keys\":[]} trailing",
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
    let good = parse("{\"keys\":[],\"spiffe_sequence\":18446744073709551615}").expect("a bundle");
    assert_eq!(good.sequence(), Some(u64::MAX));
}

#[test]
fn no_key_may_stand_twice() {
    for bad in [
        "{\"keys\":[],\"keys\":[]}",
        "{\"keys\":[{\"use\":\"jwt-svid\",\"use\":\"x509-svid\"}]}",
        "{\"keys\":[],\"x\":{\"a\":1,\"a\":1}}",
        "{\"keys\":[],\"spiffe_sequence\":1,\"spiffe_sequence\":2}",
    ] {
        assert!(matches!(parse(bad), Err(BundleError::Json(_))), "{bad}");
    }
}

#[test]
fn uri_name_constraints_are_seen() {
    let constrained = authority("x", |p| p.custom_extensions = vec![permitted(6, "example.org")]);
    assert!(parse(&constrained.pem).expect("a bundle").has_uri_name_constraints());
    assert!(!parse(&authority("x", |_| {}).pem).expect("a bundle").has_uri_name_constraints());
}

#[test]
fn too_many_authorities() {
    let entries: Vec<_> = many(1025).iter().map(|der| entry_of(der)).collect();
    let document = |entries: &[Value]| json!({ "keys": entries }).to_string();
    assert_eq!(parse(document(&entries[..1024])).expect("a bundle").len(), 1024);
    assert!(matches!(parse(document(&entries)), Err(BundleError::TooMany)));
    // The same one again is one.
    let twice = [entries[0].clone(), entries[0].clone()];
    assert_eq!(parse(document(&twice)).expect("a bundle").len(), 1);
}

/// Authorities of different names with one key, which is made once.
fn many(count: u32) -> Vec<Vec<u8>> {
    let key = crate::mint::key();
    let one = |number: u32| {
        let mut params = rcgen::CertificateParams::default();
        let name = format!("authority {number}");
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.self_signed(&key).expect("signed").der().to_vec()
    };
    (0..count).map(one).collect()
}
