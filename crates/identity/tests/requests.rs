//! Requests signed with the own SVID: by its key, with SHA-256, and nothing that is no request.

use std::sync::Arc;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use leasehold_identity::{Identity, RequestError, RequestKey};
use rcgen::KeyPair;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::kit::{BROKER, Home};
use crate::mint::{authority, uri};

const TEXT: &str = "AWS4-X509-ECDSA-SHA256\n20260102T030405Z\n20260102/eu-central-1/rolesanywhere/aws4_request\n\
                    e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The broker with a key of its own kind, its certificate signed by an intermediate.
fn with_key(key: KeyPair) -> (Home, Arc<Identity>) {
    let home = Home::new();
    let root = authority("root", |_| {});
    let between = root.intermediate(|_| {});
    let mut shown = between.leaf_of(&key, |params| params.subject_alt_names = vec![uri(BROKER)]);
    shown.push_str(&between.pem);
    home.put("bundle.pem", &root.pem);
    home.put("broker.pem", shown);
    home.put("broker-key.pem", key.serialize_pem());
    let file = |name| home.path(name);
    let identity = Identity::from_files(&file("broker.pem"), &file("broker-key.pem"), &file("bundle.pem"));
    let identity = identity.expect("an identity");
    (home, identity)
}

/// By the public key in the certificate that is shown.
fn verifies(leaf: &[u8], by: &'static dyn VerificationAlgorithm, text: &str, signature: &[u8]) -> bool {
    let (_, certificate) = X509Certificate::from_der(leaf).expect("a certificate");
    let public = certificate.public_key().subject_public_key.data.to_vec();
    UnparsedPublicKey::new(by, public).verify(text.as_bytes(), signature).is_ok()
}

#[test]
fn what_is_signed_the_certificate_verifies() {
    let rsa = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).expect("a key");
    let kinds: [(KeyPair, RequestKey, &'static dyn VerificationAlgorithm); 2] = [
        (crate::mint::key(), RequestKey::Ecdsa, &ECDSA_P256_SHA256_ASN1),
        (rsa, RequestKey::Rsa, &RSA_PKCS1_2048_8192_SHA256),
    ];
    for (key, kind, by) in kinds {
        let (_home, identity) = with_key(key);
        let signer = identity.request_signer().expect("a signer");
        assert_eq!((signer.key(), signer.chain().len()), (kind, 2), "the leaf, and what is between it and the root");
        let signature = signer.sign(TEXT).expect("signed");
        assert!(verifies(&signer.chain()[0], by, TEXT, &signature), "{kind:?}");
        assert!(!verifies(&signer.chain()[0], by, &TEXT.replace("eu", "us"), &signature), "{kind:?}");
    }
}

/// The root that ends many files is not shown, and the number is the certificate's own.
#[test]
fn what_is_shown_is_what_a_verifier_lacks() {
    let home = Home::new();
    let root = authority("root", |_| {});
    let between = root.intermediate(|_| {});
    let (key, serial) = (crate::mint::key(), [0x01, 0xff, 0, 0, 0, 0, 0, 0, 0, 0x0a]);
    let leaf = between.leaf_of(&key, |params| {
        params.subject_alt_names = vec![uri(BROKER)];
        params.serial_number = Some(serial.to_vec().into());
    });
    home.put("bundle.pem", &root.pem);
    home.put("broker.pem", [leaf.as_str(), &between.pem, &root.pem].concat());
    home.put("broker-key.pem", key.serialize_pem());
    let file = |name| home.path(name);
    let identity = Identity::from_files(&file("broker.pem"), &file("broker-key.pem"), &file("bundle.pem"));
    let signer = identity.expect("an identity").request_signer().expect("a signer");
    assert_eq!(signer.chain().len(), 2);
    assert_eq!(signer.chain()[1], between.der.to_vec());
    let number = serial.iter().fold(0_u128, |number, byte| number * 256 + u128::from(*byte));
    assert_eq!(signer.serial(), number.to_string());
}

#[test]
fn other_keys_are_refused() {
    for algorithm in [&rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        let (_home, identity) = with_key(KeyPair::generate_for(algorithm).expect("a key"));
        assert_eq!(identity.request_signer().err(), Some(RequestError::Key), "{algorithm:?}");
    }
}

/// What is signed in handshakes above all: it has bytes that no request has, wherever its beginning comes from.
#[test]
fn nothing_is_signed_that_is_no_request() {
    let (_home, identity) = with_key(crate::mint::key());
    let signer = identity.request_signer().expect("a signer");
    let tls13 = format!("{}TLS 1.3, server CertificateVerify\0{}", " ".repeat(64), "h".repeat(32));
    let tls12 = format!("AWS4-X509-ECDSA-SHA256{}\u{3}\0\u{17}A\u{4}{}", "r".repeat(42), "p".repeat(64));
    let indented = format!(" {TEXT}");
    let lower = TEXT.to_lowercase();
    let others = [&*tls13, &*tls12, &*indented, &*lower, "", "AWS4-HMAC-SHA256\n", "AWS4-X509-ECDSA-SHA256\n\u{e4}"];
    for text in others {
        assert_eq!(signer.sign(text), Err(RequestError::Text), "{text:?}");
    }
}

#[test]
fn whoever_asks_again_signs_with_the_newest() {
    let home = Home::new();
    let identity = home.identity("broker", BROKER);
    let before = identity.request_signer().expect("a signer");
    home.issue("broker", BROKER, crate::kit::HOUR);
    assert!(identity.reload().changed);
    let after = identity.request_signer().expect("a signer");
    assert_ne!(before.chain(), after.chain());
    let signature = after.sign(TEXT).expect("signed");
    assert!(verifies(&after.chain()[0], &ECDSA_P256_SHA256_ASN1, TEXT, &signature));
    assert!(!verifies(&before.chain()[0], &ECDSA_P256_SHA256_ASN1, TEXT, &signature));
}

#[test]
fn without_an_svid_nothing_is_signed() {
    let home = Home::new();
    let identity = Identity::load_or_await(home.config("nobody", &[])).expect("waiting");
    assert_eq!(identity.request_signer().err(), Some(RequestError::NoSvid));
}
