//! Keys come and go, and so does the issuer.

use std::time::Duration;

use jsonwebtoken::Algorithm;
use leasehold_client::limits::ISSUER_KEYS_MAX;
use leasehold_client::token::{Refused, Verifier};
use serde_json::json;
use tokio::time::Instant;

use super::issuer::{DEADLINE, Issuer, judge};
use super::signer::Signer;

/// Waits until a token is taken.
pub async fn until_taken(verifier: &Verifier, token: &str) {
    let deadline = Instant::now() + DEADLINE;
    while let Err(no) = judge(verifier, token).await {
        assert!(Instant::now() < deadline, "not taken in time: {no}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_unknown_keys_is_one_question() {
    let signer = Signer::new(Algorithm::ES256);
    let issuer = Issuer::start(&[&signer]).await;
    let verifier = issuer.verifier();
    let flood = (0..1000).map(|n| {
        let mut header = signer.header("at+jwt");
        header["kid"] = json!(format!("unknown-{n}"));
        let (token, verifier) = (signer.sign(&header, &issuer.claims()), verifier.clone());
        tokio::spawn(async move { judge(&verifier, &token).await })
    });
    for one in flood.collect::<Vec<_>>() {
        assert_eq!(one.await.unwrap().unwrap_err(), Refused::UnknownKey);
    }
    assert!(issuer.asked_for("/oauth2/jwks") <= 2, "{}", issuer.asked_for("/oauth2/jwks"));
    // Who has a good token was not held up.
    judge(&verifier, &signer.token(&issuer.claims())).await.unwrap();
}

#[tokio::test]
async fn a_new_key_is_found_and_one_that_is_withdrawn_is_gone() {
    let (first, second) = (Signer::new(Algorithm::ES256), Signer::new(Algorithm::ES256));
    let issuer = Issuer::start(&[&first]).await;
    let verifier = issuer.verifier();
    judge(&verifier, &first.token(&issuer.claims())).await.unwrap();
    issuer.publish(&[&second], "max-age=300");
    until_taken(&verifier, &second.token(&issuer.claims())).await;
    assert_eq!(judge(&verifier, &first.token(&issuer.claims())).await.unwrap_err(), Refused::UnknownKey);
    assert_eq!(issuer.asked_for("/oauth2/jwks"), 2);
}

#[tokio::test]
async fn an_issuer_that_is_away_ends_nobodys_work_at_once() {
    let signer = Signer::new(Algorithm::EdDSA);
    let issuer = Issuer::start(&[&signer]).await;
    let verifier = issuer.verifier();
    let brief = Verifier::new(issuer.config().keep_keys_for(Duration::from_secs(1))).unwrap();
    let token = signer.token(&issuer.claims());
    judge(&verifier, &token).await.unwrap();
    judge(&brief, &token).await.unwrap();
    issuer.set_away(true);
    let deadline = Instant::now() + DEADLINE;
    let no = loop {
        match judge(&brief, &token).await {
            Err(no) => break no,
            Ok(_) => assert!(Instant::now() < deadline, "kept for ever"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(matches!(no, Refused::KeysNotAvailable { .. }), "{no}");
    assert_eq!((no.status(), no.code()), (503, "invalid_token"));
    judge(&verifier, &token).await.unwrap();
    // One that starts while it is away says why, and recovers by itself.
    let late = issuer.verifier();
    let no = judge(&late, &token).await.unwrap_err();
    assert!(no.to_string().contains(&issuer.url), "{no}");
    issuer.set_away(false);
    until_taken(&late, &token).await;
    until_taken(&brief, &token).await;
}

#[tokio::test]
async fn what_the_issuer_says_is_judged_too() {
    let signer = Signer::new(Algorithm::ES256);
    let issuer = Issuer::start(&[&signer]).await;
    let token = signer.token(&issuer.claims());
    let good = issuer.discovery();
    let with = |name: &str, value: &str| {
        let mut discovery = good.clone();
        discovery[name] = json!(value);
        discovery.to_string()
    };
    for (document, why) in [
        (with("issuer", "https://other.example"), "another issuer"),
        (with("jwks_uri", "https://other.example/jwks"), "not its issuer's"),
        (with("jwks_uri", &format!("{}@other.example/jwks", issuer.url)), "not its issuer's"),
        (with("jwks_uri", &format!("{}/elsewhere", issuer.url)), "answers 404"),
        ("{}".to_owned(), "no discovery document"),
        ("x".repeat(300_000), "larger than"),
    ] {
        issuer.put("/.well-known/openid-configuration", document);
        let no = judge(&issuer.verifier(), &token).await.unwrap_err();
        assert!(matches!(&no, Refused::KeysNotAvailable { why: said } if said.contains(why)), "{why}: {no}");
    }
    issuer.put("/.well-known/openid-configuration", good.to_string());
    let many = vec![signer.jwk.clone(); ISSUER_KEYS_MAX + 1];
    for (document, why) in [
        (json!({"keys": [signer.jwk, signer.jwk]}).to_string(), "same kid"),
        (json!({"keys": many}).to_string(), "more than"),
        (json!({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": signer.kid}]}).to_string(), "no key for"),
        ("x".repeat(300_000), "larger than"),
    ] {
        issuer.put("/oauth2/jwks", document);
        let no = judge(&issuer.verifier(), &token).await.unwrap_err();
        assert!(matches!(&no, Refused::KeysNotAvailable { why: said } if said.contains(why)), "{why}: {no}");
    }
}
