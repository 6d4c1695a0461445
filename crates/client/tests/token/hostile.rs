//! Tokens that somebody has made up, changed, or meant for another use.

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::Algorithm;
use leasehold_client::limits::TOKEN_BYTES_MAX;
use leasehold_client::token::Refused;
use serde_json::{Value, json};

use super::issuer::{AUDIENCE, Issuer, judge};
use super::signer::{Signer, parts};

#[tokio::test]
async fn claims_of_another_use_are_refused_each_with_its_reason() {
    let signer = Signer::new(Algorithm::ES256);
    let issuer = Issuer::start(&[&signer]).await;
    let verifier = issuer.verifier();
    for (name, value, reason) in [
        ("iss", json!("https://other.example"), "wrong_issuer"),
        ("iss", json!(format!("{}/", issuer.url)), "wrong_issuer"),
        ("aud", json!("https://orders.example.org"), "wrong_audience"),
        ("aud", json!([AUDIENCE]), "wrong_audience"),
        ("aud", json!([AUDIENCE, "https://orders.example.org"]), "wrong_audience"),
        ("aud", Value::Null, "wrong_audience"),
        ("exp", json!(1), "expired"),
        ("iat", json!(u32::MAX), "not_yet_valid"),
        ("exp", Value::Null, "malformed"),
        ("sub", json!("canary"), "malformed"),
    ] {
        let no = judge(&verifier, &signer.token(&issuer.claims_with(name, value.clone()))).await.unwrap_err();
        assert_eq!(no.reason(), reason, "{name} {value}");
        assert!(!no.to_string().contains("canary") && !no.to_string().contains("orders"), "{no}");
        assert_eq!((no.status(), no.code()), (401, "invalid_token"));
    }
    for typ in ["JWT", "statuslist+jwt", "id_token"] {
        let token = signer.sign(&signer.header(typ), &issuer.claims());
        assert_eq!(judge(&verifier, &token).await.unwrap_err(), Refused::WrongType);
    }
}

#[tokio::test]
async fn the_key_decides_on_the_algorithm() {
    let signers = [Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256].map(Signer::new);
    let issuer = Issuer::start(&signers.each_ref()).await;
    let verifier = issuer.verifier();
    for signer in &signers {
        for algorithm in ["none", "HS256", "HS512", "RS512", "PS256", "ES384", "ES256", "EdDSA", "RS256"] {
            let mut header = signer.header("at+jwt");
            if header["alg"] == algorithm {
                continue;
            }
            header["alg"] = json!(algorithm);
            let token = signer.sign(&header, &issuer.claims());
            assert_eq!(judge(&verifier, &token).await.unwrap_err(), Refused::AlgorithmNotAllowed, "{algorithm}");
            let unsigned = parts(&header.to_string(), &issuer.claims().to_string()) + ".";
            assert_eq!(judge(&verifier, &unsigned).await.unwrap_err(), Refused::AlgorithmNotAllowed, "{algorithm}");
        }
        // An HMAC whose secret is what everybody can read.
        let header = json!({"typ": "at+jwt", "alg": "HS256", "kid": signer.kid});
        let text = parts(&header.to_string(), &issuer.claims().to_string());
        for secret in [signer.jwk.to_string(), signer.jwk["x"].as_str().unwrap_or("").to_owned(), signer.kid.clone()] {
            let secret = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
            let mac = jsonwebtoken::crypto::sign(text.as_bytes(), &secret, Algorithm::HS256).unwrap();
            let no = judge(&verifier, &format!("{text}.{mac}")).await.unwrap_err();
            assert_eq!(no, Refused::AlgorithmNotAllowed);
        }
    }
}

#[tokio::test]
async fn a_key_of_the_tokens_own_choice_is_not_taken() {
    let (signer, mallory) = (Signer::new(Algorithm::ES256), Signer::new(Algorithm::ES256));
    let issuer = Issuer::start(&[&signer]).await;
    let verifier = issuer.verifier();
    for (name, value) in [
        ("jwk", mallory.jwk.clone()),
        ("jku", json!("https://evil.example/jwks")),
        ("x5u", json!("https://evil.example/cert")),
        ("x5c", json!(["MIIB"])),
        ("crit", json!(["exp"])),
    ] {
        for kid in [&signer.kid, &mallory.kid] {
            let mut header = mallory.header("at+jwt");
            header["kid"] = json!(kid);
            header[name] = value.clone();
            let no = judge(&verifier, &mallory.sign(&header, &issuer.claims())).await.unwrap_err();
            assert!(matches!(no, Refused::HeaderNotAllowed(member) if member == name), "{no}");
        }
    }
    // Under the name of a key that is known.
    let mut header = mallory.header("at+jwt");
    header["kid"] = json!(signer.kid);
    assert_eq!(judge(&verifier, &mallory.sign(&header, &issuer.claims())).await.unwrap_err(), Refused::BadSignature);
}

#[tokio::test]
async fn a_kid_is_only_ever_compared() {
    let signer = Signer::new(Algorithm::ES256);
    let issuer = Issuer::start(&[&signer]).await;
    let verifier = issuer.verifier();
    let huge = "k".repeat(4000);
    for kid in
        ["../../../dev/null", "' UNION SELECT 'key' --", "https://evil.example/k", "k\0", "", &huge, "$(id)", "k k"]
    {
        let mut header = signer.header("at+jwt");
        header["kid"] = json!(kid);
        let no = judge(&verifier, &signer.sign(&header, &issuer.claims())).await.unwrap_err();
        assert!(matches!(no, Refused::Malformed(_)), "{kid}: {no}");
    }
    for kid in [json!(["a"]), json!(1), Value::Null] {
        let mut header = signer.header("at+jwt");
        header["kid"] = kid.clone();
        let no = judge(&verifier, &signer.sign(&header, &issuer.claims())).await.unwrap_err();
        assert!(matches!(no, Refused::Malformed(_)), "{kid}: {no}");
    }
    assert_eq!(issuer.asked_for("/oauth2/jwks"), 0, "nobody was asked for what cannot be a key");
}

#[tokio::test]
async fn whatever_was_changed_is_refused() {
    let signer = Signer::new(Algorithm::ES256);
    let issuer = Issuer::start(&[&signer]).await;
    let verifier = issuer.verifier();
    let token = signer.token(&issuer.claims());
    judge(&verifier, &token).await.unwrap();
    for at in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(judge(&verifier, &changed).await.is_err(), "changed at {at}");
    }
    let parts: Vec<&str> = token.split('.').collect();
    let other = issuer.claims_with("tenant", json!("43")).to_string();
    let swapped = format!("{}.{}.{}", parts[0], BASE64URL_NOPAD.encode(other.as_bytes()), parts[2]);
    assert_eq!(judge(&verifier, &swapped).await.unwrap_err(), Refused::BadSignature);
    for wrong in [
        format!("{}.{}", parts[0], parts[1]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{token}."),
        format!("{token}="),
        format!(" {token}"),
        format!("{token}\n"),
        format!("Bearer {token}"),
        String::new(),
        "..".to_owned(),
    ] {
        assert!(judge(&verifier, &wrong).await.is_err(), "{wrong:?}");
    }
}

#[tokio::test]
async fn a_member_that_comes_twice_is_refused_though_it_is_signed() {
    let signer = Signer::new(Algorithm::ES256);
    let issuer = Issuer::start(&[&signer]).await;
    let verifier = issuer.verifier();
    let claims = issuer.claims().to_string();
    let twice = claims.replacen('{', "{\"tenant\": \"1\",", 1);
    let no = judge(&verifier, &signer.sign_text(&signer.header("at+jwt").to_string(), &twice)).await.unwrap_err();
    assert!(matches!(no, Refused::Malformed(_)), "{no}");
    let header = signer.header("at+jwt").to_string().replacen('{', "{\"alg\": \"none\",", 1);
    let no = judge(&verifier, &signer.sign_text(&header, &claims)).await.unwrap_err();
    assert!(matches!(no, Refused::Malformed(_)), "{no}");
}

#[tokio::test]
async fn what_is_too_long_is_not_looked_at() {
    let signer = Signer::new(Algorithm::ES256);
    let issuer = Issuer::start(&[&signer]).await;
    let verifier = issuer.verifier();
    let large = signer.token(&issuer.claims_with("filler", json!("x".repeat(5000))));
    assert!(large.len() > 6 * 1024 && large.len() <= TOKEN_BYTES_MAX);
    judge(&verifier, &large).await.unwrap();
    let oversized = signer.token(&issuer.claims_with("filler", json!("x".repeat(6000))));
    assert_eq!(judge(&verifier, &oversized).await.unwrap_err(), Refused::TooLarge);
    assert_eq!(judge(&verifier, &"A".repeat(10_000_000)).await.unwrap_err(), Refused::TooLarge);
}
