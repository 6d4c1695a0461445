//! Tokens that are bound to a certificate.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::Algorithm;
use leasehold_client::token::{Presented, Refused, Verified, Verifier, VerifierConfig, Wanted};
use leasehold_identity::fingerprint;
use serde_json::json;

use super::issuer::{AUDIENCE, BILLING, Issuer, now};
use super::signer::Signer;

struct Scene {
    signer: Signer,
    issuer: Issuer,
    certificate: Vec<u8>,
}

impl Scene {
    async fn set() -> Self {
        let signer = Signer::new(Algorithm::ES256);
        let issuer = Issuer::start(&[&signer]).await;
        let certificate = issuer.certificate(BILLING);
        Self { signer, issuer, certificate }
    }

    fn config(&self) -> VerifierConfig {
        VerifierConfig::new(&self.issuer.url, AUDIENCE, self.issuer.source())
    }

    fn token(&self, issued_at: i64) -> String {
        let mut claims = self.issuer.claims_with("iat", json!(issued_at));
        claims["cnf"] = json!({"x5t#S256": BASE64URL_NOPAD.encode(&fingerprint(&self.certificate))});
        self.signer.token(&claims)
    }
}

async fn show(config: VerifierConfig, token: &str, certificate: Option<&[u8]>) -> Result<Verified, Refused> {
    let verifier = Verifier::new(config).unwrap();
    verifier.verify(&Presented { token, certificate }, &Wanted::default()).await
}

#[tokio::test]
async fn a_stolen_token_is_worth_nothing() {
    let scene = Scene::set().await;
    let token = scene.token(now());
    for config in [scene.config(), scene.config().accept_unbound()] {
        assert!(show(config.clone(), &token, Some(&scene.certificate)).await.unwrap().is_bound);
        assert_eq!(show(config.clone(), &token, None).await.unwrap_err(), Refused::NoCertificate);
        let thief = scene.issuer.certificate("spiffe://dev.local/ns/thief/sa/web");
        for other in [&thief[..], &scene.issuer.certificate(BILLING), b"", b"no certificate"] {
            assert_eq!(show(config.clone(), &token, Some(other)).await.unwrap_err(), Refused::OtherCertificate);
        }
    }
}

#[tokio::test]
async fn a_token_that_is_bound_to_nothing_is_taken_only_where_that_is_said() {
    let scene = Scene::set().await;
    let token = scene.signer.token(&scene.issuer.claims());
    let no = show(scene.config(), &token, Some(&scene.certificate)).await.unwrap_err();
    assert_eq!(no, Refused::NotBound);
    assert!(!show(scene.config().accept_unbound(), &token, None).await.unwrap().is_bound);
}

#[tokio::test]
async fn a_renewed_certificate_of_the_same_identity_is_taken_where_that_is_said() {
    let scene = Scene::set().await;
    let renewed = scene.issuer.certificate(BILLING);
    // These certificates begin a minute before they are issued.
    let config = || scene.config().accept_renewed_certificate(Duration::from_secs(300));
    show(config(), &scene.token(now()), Some(&renewed)).await.unwrap();
    show(config(), &scene.token(now()), Some(&scene.certificate)).await.unwrap();
    assert_eq!(show(config(), &scene.token(now()), None).await.unwrap_err(), Refused::NoCertificate);
    let refused = async |config, token: String, certificate: &[u8]| {
        assert_eq!(show(config, &token, Some(certificate)).await.unwrap_err(), Refused::OtherCertificate);
    };
    refused(scene.config(), scene.token(now()), &renewed).await;
    // Issued long after the token.
    refused(config(), scene.token(now() - 400), &renewed).await;
    refused(scene.config().accept_renewed_certificate(Duration::from_secs(5)), scene.token(now()), &renewed).await;
    for other in ["spiffe://dev.local/ns/billing/sa/web2", "spiffe://dev.local/ns/billing/sa"] {
        refused(config(), scene.token(now()), &scene.issuer.certificate(other)).await;
    }
}
