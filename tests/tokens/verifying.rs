//! Billing calls payments with a token and its certificate, and payments judges by the library: real issuer, real certificates.

use std::time::Duration;

use leasehold_client::token::{
    IssuerTls, KeySource, Presented, ServerBundle, StatusPolicy, Verifier, VerifierConfig, Wanted,
};
use leasehold_testkit::{Proxy, wait_until};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::world::{LEDGER, PAYMENTS, SHOP, World};
use crate::ground::SOON;

/// Another workload of the same team: it has a good certificate too.
const THIEF: &str = "/ns/shop/sa/other";

/// Who judges.
struct Payments {
    world: World,
    verifier: Verifier,
    _line: Proxy,
}

impl Payments {
    async fn new() -> Self {
        // Its address is the issuer's, which must be known before there is a broker.
        let line = Proxy::start(1).await;
        let world = World::issued_by(&format!("https://{}", line.address())).await;
        line.point_to(world.rig.broker.addresses().public.expect("a public listener").port());
        let verifier = Self::verifier(&world, &line, PAYMENTS);
        Self { world, verifier, _line: line }
    }

    fn verifier(world: &World, line: &Proxy, audience: &str) -> Verifier {
        let tls = IssuerTls::Broker {
            id: "spiffe://dev.local/leasehold".parse().expect("an ID"),
            bundle: ServerBundle::File(world.rig.ground.dir().join("bundle.pem")),
        };
        let issuer = format!("https://{}", line.address());
        let config = VerifierConfig::new(issuer, audience, KeySource::Issuer(tls));
        Verifier::new(config.status(StatusPolicy::Require).leeway(Duration::from_secs(1))).expect("a verifier")
    }

    /// What payments says of this token, shown with the certificate of this workload.
    async fn says(&self, token: &str, path: &str, wanted: &Wanted<'_>) -> Result<String, &'static str> {
        let pem = std::fs::read(self.world.rig.svid(path).cert).expect("the certificate");
        let certificate = CertificateDer::from_pem_slice(&pem).expect("a certificate");
        let presented = Presented { token, certificate: Some(&certificate) };
        let verdict = self.verifier.verify(&presented, wanted).await;
        verdict.map(|good| good.subject.to_string()).map_err(|refused| refused.reason())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_token_is_refused_with_its_reason() {
    let payments = Payments::new().await;
    let shop = payments.world.rig.svid(SHOP);
    let certificate = {
        let pem = std::fs::read(&shop.cert).expect("the certificate");
        CertificateDer::from_pem_slice(&pem).expect("a certificate").into_owned()
    };
    let identity = crate::ground::load(&shop);
    let mut line = payments.world.rig.line_of(&identity).await;
    let mut ask = async |fields: &[(&str, &str)]| {
        let told = super::world::form(&mut line, "/oauth2/token", fields).await;
        assert_eq!(told.status, 200, "{told:?}");
        told.text("access_token").to_owned()
    };
    let credentials = ("grant_type", "client_credentials");
    let write = [credentials, ("resource", PAYMENTS), ("scope", "payments:write"), ("tenant", "42")];
    let token = ask(&write).await;
    let other_audience = ask(&[credentials, ("resource", LEDGER), ("scope", "ledger:team")]).await;
    let brief = ask(&[credentials, ("resource", PAYMENTS), ("scope", "payments:ping")]).await;

    let wanted = Wanted { scopes: &["payments:write"], claims: &[("tenant", "42")] };
    let judge = async |token: &str, certificate: Option<&[u8]>, wanted: &Wanted<'_>| {
        let verdict = payments.verifier.verify(&Presented { token, certificate }, wanted).await;
        verdict.map(|good| good.subject.to_string()).map_err(|refused| refused.reason())
    };
    let own = Some(certificate.as_ref());
    assert_eq!(judge(&token, own, &wanted).await.as_deref(), Ok("spiffe://dev.local/ns/shop/sa/web"));
    let wrong_scope = Wanted { scopes: &["payments:admin"], claims: &[] };
    let wrong_tenant = Wanted { scopes: &[], claims: &[("tenant", "43")] };
    assert_eq!(judge(&token, own, &wrong_scope).await, Err("scope_missing"));
    assert_eq!(judge(&token, own, &wrong_tenant).await, Err("claim_differs"));
    assert_eq!(judge(&other_audience, own, &wanted).await, Err("wrong_audience"));
    assert_eq!(judge(&token, None, &wanted).await, Err("no_certificate"));
    assert_eq!(payments.says(&token, THIEF, &wanted).await, Err("other_certificate"));
    assert!(judge(&brief, own, &Wanted { scopes: &["payments:ping"], claims: &[] }).await.is_ok());

    // Revoked: the list that the verifier keeps is up to a minute old, so one that has looked at none yet is asked.
    let fresh = Payments::verifier(&payments.world, &payments._line, PAYMENTS);
    assert_eq!(super::world::form(&mut line, "/oauth2/revoke", &[("token", &token)]).await.status, 200);
    let refused = fresh.verify(&Presented { token: &token, certificate: own }, &wanted).await;
    assert_eq!(refused.map(|_| ()).map_err(|refused| refused.reason()), Err("revoked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_with_its_time() {
    let payments = Payments::new().await;
    let shop = payments.world.rig.svid(SHOP);
    let identity = crate::ground::load(&shop);
    let pem = std::fs::read(&shop.cert).expect("the certificate");
    let certificate = CertificateDer::from_pem_slice(&pem).expect("a certificate");
    let mut line = payments.world.rig.line_of(&identity).await;
    let ask = "{\"ttl\":\"2s\",\"params\":{\"tenant\":\"42\"}}";
    let issued = line.ask("POST", "/v1/credentials/payments-write", Some(ask)).await;
    let token = issued.json()["credential"]["access_token"].as_str().expect("a token").to_owned();
    let wanted = Wanted { scopes: &["payments:write"], claims: &[] };
    let judge = async |token: &str| {
        let verdict = payments.verifier.verify(&Presented { token, certificate: Some(&certificate) }, &wanted).await;
        verdict.map(|_| ()).map_err(|refused| refused.reason())
    };
    assert_eq!(judge(&token).await, Ok(()));
    wait_until(SOON, "the token to end", || async { judge(&token).await == Err("expired") }).await;
}
