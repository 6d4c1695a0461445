//! Bundles from endpoint URLs: both profiles, what is believed, what is kept.

use std::sync::Arc;

use leasehold_identity::dev::DevCa;
use leasehold_identity::{
    BundleEndpoint as Endpoint, BundleSource, DomainStatus, EndpointProfile, Identity, IdentityStatus, SvidSource,
};
use leasehold_testkit::{BundleAnswer, BundleEndpoint, wait_until};
use tokio::task::JoinHandle;

use crate::kit::{BROKER, DEADLINE, HOUR, Home, domain, id, meet};

const PARTNER: &str = "partner.example";
const SERVER: &str = "spiffe://partner.example/bundle-server";

/// A broker that has the partner's bundle from an endpoint.
struct Federation {
    home: Home,
    partner: DevCa,
    identity: Arc<Identity>,
    watching: JoinHandle<()>,
}

impl Drop for Federation {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

/// The bundle of these authorities.
fn document(authorities: &[&DevCa], sequence: u64) -> String {
    let mut keys = Vec::new();
    for ca in authorities {
        let bundle: serde_json::Value = serde_json::from_str(&ca.bundle_jwks()).expect("JSON");
        keys.extend(bundle["keys"].as_array().expect("keys").clone());
    }
    serde_json::json!({ "keys": keys, "spiffe_sequence": sequence, "spiffe_refresh_hint": 1 }).to_string()
}

fn authority() -> DevCa {
    DevCa::create(&domain(PARTNER)).expect("an authority")
}

impl Federation {
    fn start(home: Home, partner: DevCa, endpoint: Endpoint) -> Self {
        home.issue("broker", BROKER, HOUR);
        let mut config = home.config("broker", &[]);
        config.bundles.insert(domain(PARTNER), BundleSource::Endpoint(endpoint));
        let identity = Identity::load(config).expect("an identity");
        let watching = identity.spawn_watch();
        Self { home, partner, identity, watching }
    }

    /// By host name.
    async fn web(home: Home) -> (Self, BundleEndpoint) {
        let partner = authority();
        let (server, ca_pem) = BundleEndpoint::web(&document(&[&partner], 1)).await;
        std::fs::write(home.path("web-ca.pem"), ca_pem).expect("written");
        let endpoint = web_endpoint(&home, &server);
        (Self::start(home, partner, endpoint), server)
    }

    #[track_caller]
    fn partner(&self, what: &str, is_so: impl Fn(&DomainStatus) -> bool) -> impl Future<Output = ()> {
        let identity = Arc::clone(&self.identity);
        wait_until(DEADLINE, what, move || std::future::ready(is_so(&partner_of(&identity.status()))))
    }

    /// Is somebody with an SVID of this authority let in?
    async fn lets_in(&self, ca: &DevCa) -> bool {
        let shop = ca.issue(&id("spiffe://partner.example/shop"), HOUR).expect("an SVID");
        let (cert, key) = shop.write_to(self.home.dir.path(), "shop").expect("written");
        self.home.put("shop-bundle.pem", ca.bundle_pem());
        let file = self.home.path("shop-bundle.pem");
        let mut config = self.home.config("broker", &[(PARTNER, &file)]);
        (config.trust_domain, config.svid) = (domain(PARTNER), SvidSource::Files { cert, key });
        let shop = Identity::load(config).expect("an identity");
        let connector = leasehold_identity::Connector::new(shop, id(BROKER));
        meet(&self.identity, &connector).await.server.is_ok()
    }
}

fn web_endpoint(home: &Home, server: &BundleEndpoint) -> Endpoint {
    let profile = EndpointProfile::HttpsWeb { ca: Some(home.path("web-ca.pem")) };
    Endpoint::new(&server.url(), profile).expect("a URL").kept_in(&home.path("bundles"))
}

fn spiffe_endpoint(home: &Home, server: &BundleEndpoint) -> Endpoint {
    let profile = EndpointProfile::HttpsSpiffe { endpoint_id: id(SERVER), bootstrap: home.path("bootstrap.json") };
    Endpoint::new(&server.url(), profile).expect("a URL")
}

fn partner_of(status: &IdentityStatus) -> DomainStatus {
    status.domains.iter().find(|d| d.trust_domain.as_str() == PARTNER).expect("the partner").clone()
}

fn said(status: &DomainStatus, what: &str) -> bool {
    status.last_error.as_deref().is_some_and(|error| error.contains(what))
}

#[tokio::test]
async fn a_bundle_is_fetched_as_often_as_its_hint_says() {
    let (it, server) = Federation::web(Home::new()).await;
    it.partner("the first bundle", |partner| partner.authorities == 1).await;
    assert!(it.lets_in(&it.partner).await);
    assert_eq!(partner_of(&it.identity.status()).last_error, None);

    let next = authority();
    server.give(&document(&[&it.partner, &next], 2));
    it.partner("the next bundle", |partner| partner.sequence == Some(2)).await;
    assert!(it.lets_in(&next).await);

    // An older one is not believed, even though it comes from the right place.
    server.give(&document(&[&it.partner], 1));
    it.partner("the refusal", |partner| said(partner, "spiffe_sequence 1 is older than 2")).await;
    assert!(it.lets_in(&next).await);

    // An empty one is a good one: everybody of the domain is out.
    server.give(&document(&[], 3));
    it.partner("the end", |partner| partner.authorities == 0 && partner.last_error.is_none()).await;
    assert!(!it.lets_in(&next).await);
}

#[tokio::test]
async fn what_is_no_bundle_changes_nothing() {
    let (it, server) = Federation::web(Home::new()).await;
    it.partner("the first bundle", |partner| partner.authorities == 1).await;
    let elsewhere = Some(format!("https://localhost:1/{}", "x".repeat(300)));
    for (why, answer) in [
        ("it redirects (302), which is not followed", BundleAnswer::Status(302, elsewhere.clone())),
        ("it redirects (308), which is not followed", BundleAnswer::Status(308, elsewhere)),
        ("it answers 503", BundleAnswer::Status(503, None)),
        ("is not usable", BundleAnswer::Document("nonsense".into())),
        ("is not usable", BundleAnswer::Document(it.partner.bundle_pem())),
        ("is not usable", BundleAnswer::Document("{\"keys\":[],\"keys\":[]}".into())),
        ("larger than 4194304 bytes", BundleAnswer::Document(" ".repeat(4 * 1024 * 1024 + 1))),
        ("partner.example", BundleAnswer::Away),
    ] {
        server.give(&document(&[&it.partner], 1));
        it.partner("no trouble", |partner| partner.last_error.is_none()).await;
        server.answer(answer);
        it.partner(why, |partner| said(partner, why)).await;
        assert!(it.lets_in(&it.partner).await, "{why}: the last good bundle serves");
    }
}

#[tokio::test]
async fn the_last_good_copy_serves_after_a_restart() {
    let (it, server) = Federation::web(Home::new()).await;
    it.partner("the first bundle", |partner| partner.authorities == 1).await;
    server.answer(BundleAnswer::Away);
    it.watching.abort();

    let mut config = it.home.config("broker", &[]);
    config.bundles.insert(domain(PARTNER), BundleSource::Endpoint(web_endpoint(&it.home, &server)));
    let again = Identity::load(config.clone()).expect("an identity");
    assert_eq!(partner_of(&again.status()).authorities, 1);
    assert!(said(&partner_of(&again.status()), "has not answered yet"));

    // What another URL gave is not for this one.
    let other = Endpoint::new("https://localhost:1/bundle", EndpointProfile::HttpsWeb { ca: None }).expect("a URL");
    let other = other.kept_in(&it.home.path("bundles"));
    config.bundles.insert(domain(PARTNER), BundleSource::Endpoint(other));
    assert_eq!(partner_of(&Identity::load(config).expect("an identity").status()).authorities, 0);
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_is_not_believed() {
    let home = Home::new();
    let partner = authority();
    let (server, _) = BundleEndpoint::web(&document(&[&partner], 1)).await;
    // Without its authority, those of the public web are believed.
    let endpoint = Endpoint::new(&server.url(), EndpointProfile::HttpsWeb { ca: None }).expect("a URL");
    let it = Federation::start(home, partner, endpoint);
    it.partner("the refusal", |partner| said(partner, "TLS")).await;
    assert!(!it.lets_in(&it.partner).await);
}

#[tokio::test]
async fn an_endpoint_that_serves_its_own_domain_is_verified_by_the_newest_bundle() {
    let (home, first, next) = (Home::new(), authority(), authority());
    home.put("bootstrap.json", document(&[&first], 1));
    let server = BundleEndpoint::spiffe(&first, SERVER, &document(&[&first, &next], 2)).await;
    let endpoint = spiffe_endpoint(&home, &server);
    let it = Federation::start(home, first, endpoint);
    it.partner("the first bundle", |partner| partner.sequence == Some(2)).await;

    // Its new SVID is of an authority that the bootstrap file does not know.
    server.give(&document(&[&next], 3));
    server.show(&next, SERVER);
    it.partner("the next bundle", |partner| partner.sequence == Some(3)).await;
    assert!(it.lets_in(&next).await);

    // The old authority is out, although the bootstrap file still has it.
    server.show(&it.partner, SERVER);
    server.give(&document(&[&it.partner], 4));
    it.partner("the refusal", |partner| said(partner, "does not lead to an authority")).await;
    assert!(it.lets_in(&next).await);

    server.show(&next, "spiffe://partner.example/shop");
    it.partner("another refusal", |partner| said(partner, "not spiffe://partner.example/bundle-server")).await;
}

#[tokio::test]
async fn an_endpoint_of_another_domain_is_verified_by_its_bootstrap_bundle() {
    let (home, partner) = (Home::new(), authority());
    let hub = DevCa::create(&domain("hub.example")).expect("an authority");
    home.put("bootstrap.json", hub.bundle_pem());
    let id_of_hub = "spiffe://hub.example/bundles";
    let server = BundleEndpoint::spiffe(&hub, id_of_hub, &document(&[&partner], 1)).await;
    let profile = EndpointProfile::HttpsSpiffe { endpoint_id: id(id_of_hub), bootstrap: home.path("bootstrap.json") };
    let endpoint = Endpoint::new(&server.url(), profile).expect("a URL");
    let it = Federation::start(home, partner, endpoint);
    it.partner("the bundle", |partner| partner.authorities == 1).await;
    // The hub vouches for no workload: only the domain that is configured was learned.
    assert_eq!(it.identity.status().domains.len(), 2);
    assert!(server.fetches() >= 1 && it.lets_in(&it.partner).await);
}
