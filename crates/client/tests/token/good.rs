//! Good tokens are taken.

use std::time::{Duration, UNIX_EPOCH};

use jsonwebtoken::Algorithm;
use leasehold_client::token::{IssuerTls, KeySource, Presented, Refused, Verifier, VerifierConfig, Wanted};
use serde_json::json;

use super::issuer::{AUDIENCE, BILLING, Issuer, export, judge, now};
use super::signer::Signer;

#[tokio::test]
async fn a_good_token_is_taken_whatever_its_algorithm() {
    let signers = [Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256].map(Signer::new);
    let issuer = Issuer::start(&signers.each_ref()).await;
    let verifier = issuer.verifier();
    for signer in &signers {
        let mut claims = issuer.claims();
        claims["act"] = json!({"sub": "spiffe://dev.local/gateway", "act": {"sub": "spiffe://dev.local/edge"}});
        let wanted = Wanted { scopes: &["payments:write"], claims: &[("tenant", "42")] };
        let token = signer.token(&claims);
        let good = verifier.verify(&Presented { token: &token, certificate: None }, &wanted).await.unwrap();
        assert_eq!(good.subject.as_str(), BILLING);
        assert_eq!(good.actor.unwrap().as_str(), "spiffe://dev.local/gateway");
        assert_eq!(good.scopes, ["payments:read", "payments:write"]);
        assert_eq!(good.claims.into_iter().collect::<Vec<_>>(), [("tenant".to_owned(), "42".to_owned())]);
        assert_eq!(good.expires_at, UNIX_EPOCH + Duration::from_secs(claims["exp"].as_u64().unwrap()));
        assert_eq!((good.id.as_str(), good.is_bound), ("lh_dev_abcd_1", false));
    }
    // All of that cost one look at each document.
    assert_eq!(issuer.asked_for("/.well-known/openid-configuration"), 1);
    assert_eq!(issuer.asked_for("/oauth2/jwks"), 1);
}

#[tokio::test]
async fn scope_and_claim_must_be_the_ones_that_are_wanted() {
    let signer = Signer::new(Algorithm::ES256);
    let issuer = Issuer::start(&[&signer]).await;
    let verifier = issuer.verifier();
    let token = signer.token(&issuer.claims());
    let presented = Presented { token: &token, certificate: None };
    let wanted = Wanted { scopes: &["payments:read", "payments:admin"], claims: &[] };
    let no = verifier.verify(&presented, &wanted).await.unwrap_err();
    assert_eq!(no, Refused::ScopeMissing { scope: "payments:admin".into() });
    assert_eq!((no.status(), no.code()), (403, "insufficient_scope"));
    let wanted = Wanted { scopes: &["payments:read"], claims: &[("tenant", "43")] };
    let no = verifier.verify(&presented, &wanted).await.unwrap_err();
    assert_eq!(no, Refused::ClaimDiffers { claim: "tenant".into() });
}

#[tokio::test]
async fn clocks_may_be_a_little_apart() {
    let signer = Signer::new(Algorithm::EdDSA);
    let issuer = Issuer::start(&[&signer]).await;
    let verifier = issuer.verifier();
    // Some seconds from the edge: the unit tests stand on it.
    for (name, at, is_good) in [
        ("exp", now() - 20, true),
        ("exp", now() - 31, false),
        ("iat", now() + 30, true),
        ("iat", now() + 45, false),
        ("nbf", now() + 45, false),
    ] {
        let found = judge(&verifier, &signer.token(&issuer.claims_with(name, json!(at)))).await;
        assert_eq!(found.is_ok(), is_good, "{name}: {found:?}");
    }
    let strict = Verifier::new(issuer.config().leeway(Duration::ZERO)).unwrap();
    let late = judge(&strict, &signer.token(&issuer.claims_with("exp", json!(now())))).await.unwrap_err();
    assert!(matches!(late, Refused::Expired { .. }), "{late}");
    let early = judge(&strict, &signer.token(&issuer.claims_with("iat", json!(now() + 5)))).await.unwrap_err();
    assert!(matches!(early, Refused::NotYetValid { .. }), "{early}");
}

#[tokio::test]
async fn an_issuer_on_the_web_is_known_by_its_name() {
    let signer = Signer::new(Algorithm::ES256);
    let issuer = Issuer::start_on_the_web(&[&signer]).await;
    let token = signer.token(&issuer.claims());
    let with = |ca| {
        let source = KeySource::Issuer(IssuerTls::Web { ca });
        Verifier::new(VerifierConfig::new(&issuer.url, AUDIENCE, source).accept_unbound()).unwrap()
    };
    judge(&with(Some(issuer.path("web-ca.pem"))), &token).await.unwrap();
    for verifier in [with(None), issuer.verifier()] {
        let no = judge(&verifier, &token).await.unwrap_err();
        assert!(matches!(no, Refused::KeysNotAvailable { .. }), "{no}");
    }
}

#[tokio::test]
async fn keys_in_files_are_read_again_when_they_change() {
    let (first, second) = (Signer::new(Algorithm::ES256), Signer::new(Algorithm::EdDSA));
    let issuer = Issuer::start(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    let source = KeySource::Folder(folder.path().to_owned());
    let verifier = Verifier::new(VerifierConfig::new(&issuer.url, AUDIENCE, source).accept_unbound()).unwrap();
    let no = judge(&verifier, &first.token(&issuer.claims())).await.unwrap_err();
    assert!(no.to_string().contains("cannot read"), "{no}");
    export(folder.path(), &issuer.discovery(), &[&first]);
    super::keys::until_taken(&verifier, &first.token(&issuer.claims())).await;
    export(folder.path(), &issuer.discovery(), &[&second]);
    super::keys::until_taken(&verifier, &second.token(&issuer.claims())).await;
    assert_eq!(judge(&verifier, &first.token(&issuer.claims())).await.unwrap_err(), Refused::UnknownKey);
    // Nobody was asked.
    assert_eq!(issuer.asked_for("/oauth2/jwks"), 0);
}

#[tokio::test]
async fn files_of_another_issuer_are_not_taken() {
    let signer = Signer::new(Algorithm::ES256);
    let issuer = Issuer::start(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    let mut discovery = issuer.discovery();
    discovery["issuer"] = json!("https://other.example");
    export(folder.path(), &discovery, &[&signer]);
    let source = KeySource::Folder(folder.path().to_owned());
    let verifier = Verifier::new(VerifierConfig::new(&issuer.url, AUDIENCE, source).accept_unbound()).unwrap();
    let no = judge(&verifier, &signer.token(&issuer.claims())).await.unwrap_err();
    assert!(no.to_string().contains("another issuer"), "{no}");
}

#[tokio::test]
async fn a_configuration_that_cannot_be_meant_is_refused() {
    let source = KeySource::Folder("/nowhere".into());
    for (issuer, audience, setting) in [
        ("http://l.example", AUDIENCE, "issuer"),
        ("https://l.example/", AUDIENCE, "issuer"),
        ("https://l.example?x", AUDIENCE, "issuer"),
        ("l.example", AUDIENCE, "issuer"),
        ("https://l.example", "", "audience"),
        ("https://l.example", "a b", "audience"),
    ] {
        let no = Verifier::new(VerifierConfig::new(issuer, audience, source.clone())).unwrap_err().to_string();
        assert!(no.starts_with(setting), "{issuer} {audience}: {no}");
    }
}
