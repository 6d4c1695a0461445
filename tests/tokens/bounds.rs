//! Where a token ends, whatever was asked for; and what happens while the store is away.

use std::time::Duration;

use leasehold_testkit::{PgFixture, PgOptions, Proxy, distribution, wait_until};

use super::world::{LOOK, PAYMENTS, RECEIVER, SHOP, World, form, opened, told};
use crate::ground::{SOON, load};

const PING: [(&str, &str); 3] =
    [("grant_type", "client_credentials"), ("resource", PAYMENTS), ("scope", "payments:ping")];

#[tokio::test(flavor = "multi_thread")]
async fn no_token_outlives_the_certificate_that_asked_for_it() {
    let world = World::new().await;
    let svid = world.rig.ground.ca.svid_for(SHOP, Duration::from_secs(90));
    let mut line = world.rig.line_of(&load(&svid)).await;
    let issued = line.ask("POST", &format!("/v1/credentials/{LOOK}"), Some("{\"ttl\":\"1h\"}")).await.json();
    let (_, claims) = opened(issued["credential"]["access_token"].as_str().expect("a token"));
    let seconds = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert!((1..=90).contains(&seconds), "{claims}");
    let lease = &issued["lease"];
    assert_eq!(lease["expires_at"], lease["worst_case_until"], "{lease}");
    assert_eq!(lease["expires_at"], issued["credential"]["expires_at"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_fits_into_no_header_is_not_made() {
    let world = World::with(|config| {
        let claims: String = (0..30).map(|n| format!("c{n} = \"{}\", ", "x".repeat(300))).collect();
        let role =
            format!("target = \"payments\"\nttl = \"5m\"\nscopes = [\"a\"]\nclaims = {{ {claims} last = \"x\" }}");
        config.role("large", &role).grant("shops have it", &["spiffe://dev.local/ns/shop/sa/*"], &["large"], &["mint"])
    })
    .await;
    let answer = world.rig.ask(SHOP, "POST", "/v1/credentials/large", None).await;
    let problem = answer.problem(502);
    assert!(problem["detail"].as_str().is_some_and(|why| why.contains("6144 is the most")), "{problem}");
    assert!(world.rig.leases().await.iter().all(|lease| lease.state != "active"));
}

/// What nobody can end must not be handed to somebody who was blocked a moment ago.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_store_no_token_without_a_lease_is_signed_for_long() {
    let store = PgFixture::own(PgOptions::on(distribution())).await;
    let owner = store.owner().await;
    let line = Proxy::start(store.server().port()).await;
    let url = format!("postgres://{}@{}/{}", owner.name, line.address(), store.database());
    let world = World::with(|config| config.postgres_store(&url, &owner.password)).await;
    let mut shop = world.rig.line(SHOP).await;
    assert_eq!(form(&mut shop, "/oauth2/token", &PING).await.status, 200);
    line.sever();
    wait_until(SOON, "it to be refused", || async {
        let told = world.form(SHOP, "/oauth2/token", &PING).await;
        told.status == 503 && told.text("error") == "temporarily_unavailable"
    })
    .await;
    line.mend();
    wait_until(SOON, "it to be signed again", || async {
        world.form(SHOP, "/oauth2/token", &PING).await.status == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_on_one_store_are_one_issuer() {
    let store = PgFixture::shared(distribution()).await;
    let owner = store.owner().await;
    let world =
        World::with(|config| config.listen("public = \"127.0.0.1:0\"").postgres_store(&owner.url, &owner.password))
            .await;
    let dir = tempfile::tempdir().expect("a directory");
    let config = world.rig.config.in_another_directory(dir.path());
    let other = crate::ground::start(crate::ground::options(&config)).await;
    // By the one it is signed, to the other it is shown.
    let token = world.token("payments:write").await;
    let token = token.text("access_token");
    let mut line =
        crate::ground::Line::open(other.addresses().api, &load(&world.rig.svid(RECEIVER))).await.expect("a line");
    let active = async |line: &mut crate::ground::Line| {
        form(line, "/oauth2/introspect", &[("token", token)]).await.json["active"].clone()
    };
    assert_eq!(active(&mut line).await, true);
    let keys = async |line: &mut crate::ground::Line| line.ask("GET", "/v1/token/discovery", None).await.json();
    let mut first = world.rig.line(RECEIVER).await;
    assert_eq!(keys(&mut line).await, keys(&mut first).await);
    // Ended at the second, not active at the first.
    let mut shop =
        crate::ground::Line::open(other.addresses().api, &load(&world.rig.svid(SHOP))).await.expect("a line");
    assert_eq!(told(&super::world::post(&mut shop, "/oauth2/revoke", "", &format!("token={token}")).await).status, 200);
    assert_eq!(world.introspect(RECEIVER, token).await["active"], false);
}
