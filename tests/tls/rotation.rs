//! Certificates and bundles that change while the broker runs.

use std::path::Path;
use std::time::Duration;

use leasehold_testkit::{BundleAnswer, BundleEndpoint, TestCa, wait_until};

use crate::rig::{BILLING, Ground, READ, Rig, SOON, request};

const SVID_END: &str = "leasehold_svid_not_after_timestamp_seconds";

/// Puts a file in its place in one step, as whoever rotates files must.
fn replace(path: &Path, text: &str) {
    let next = path.with_extension("next");
    std::fs::write(&next, text).expect("write");
    std::fs::rename(&next, path).expect("rename");
}

/// Gives the broker another SVID of this life.
fn new_broker_svid(ground: &Ground, life: Duration) {
    let id = ground.ca.dev().trust_domain().id("/leasehold").expect("an ID");
    ground.ca.dev().issue(&id, life).expect("issue").write_to(ground.dir(), "broker").expect("write");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_is_taken_away_ends_kept_connections_at_their_next_request() {
    let ground = Ground::new().await;
    let ca = TestCa::new("partner.example");
    let file = ground.dir().join("partner.pem");
    std::fs::write(&file, ca.bundle_pem()).expect("write");
    let config = ground.config().bundle("partner.example", "partner.pem").grant(
        "partners read",
        &["spiffe://partner.example/shop/*"],
        &[READ],
        &["mint"],
    );
    let rig = ground.start(config).await;

    // A federated domain is let in by its own bundle.
    let shop = rig.ground.of_partner(&ca, "/shop/1");
    let mut kept = rig.line_of(&shop).await;
    let issued = kept.ask("POST", "/v1/credentials/orders-read", None).await;
    assert_eq!(issued.json()["lease"]["identity"], "spiffe://partner.example/shop/1", "{issued:?}");
    kept.ask("POST", "/v1/credentials/orders-tenant", None).await.problem(403);
    let mut own = rig.line(BILLING).await;
    assert_eq!(own.ask("GET", "/v1/roles", None).await.status, 200);

    // The partner's authority is replaced: what it signed before is good no more, on connections that are open too.
    replace(&file, &TestCa::new("partner.example").bundle_pem());
    let deadline = tokio::time::Instant::now() + SOON;
    let last = loop {
        let answer = kept.ask("GET", "/v1/roles", None).await;
        if answer.status != 200 || tokio::time::Instant::now() > deadline {
            break answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(last.problem(401)["type"], "urn:leasehold:problem:svid-not-good");
    assert_eq!(last.header("connection"), Some("close"));
    kept.assert_closed().await;
    let mut again = rig.line_of(&shop).await;
    let _ = again.send(request("GET", "/v1/roles", None)).await;
    assert!(again.answer().await.is_err(), "nor is there a new one");
    assert_eq!(own.ask("GET", "/v1/roles", None).await.status, 200, "others notice nothing");

    replace(&file, &ca.bundle_pem());
    wait_until(SOON, "it is let in again", || async {
        let mut line = rig.line_of(&shop).await;
        line.send(request("GET", "/v1/roles", None)).await.is_ok() && matches!(line.answer().await, Ok(Some(_)))
    })
    .await;
}

/// The partner's bundle comes from the partner, and survives a restart while the partner is away.
#[tokio::test(flavor = "multi_thread")]
async fn a_federated_domain_by_its_bundle_endpoint() {
    let ground = Ground::new().await;
    let ca = TestCa::new("partner.example");
    let (endpoint, authority) = BundleEndpoint::web(&ca.dev().bundle_jwks()).await;
    std::fs::write(ground.dir().join("web-ca.pem"), authority).expect("write");
    let source = format!("{{ url = \"{}\", profile = \"https_web\", ca = \"web-ca.pem\" }}", endpoint.url());
    let config = ground.config().bundle_from("partner.example", &source).grant(
        "partners read",
        &["spiffe://partner.example/shop/*"],
        &[READ],
        &["mint"],
    );
    let mut rig = ground.start(config).await;
    let shop = rig.ground.of_partner(&ca, "/shop/1");
    let is_let_in = async |rig: &Rig| {
        let mut line = rig.line_of(&shop).await;
        line.send(request("GET", "/v1/roles", None)).await.is_ok() && matches!(line.answer().await, Ok(Some(_)))
    };
    wait_until(SOON, "the partner's bundle", async || is_let_in(&rig).await).await;

    endpoint.answer(BundleAnswer::Away);
    rig.broker.restart().await.expect("it starts without its partner");
    assert!(is_let_in(&rig).await, "by the copy that was kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_svid_and_a_new_authority_are_taken_up_without_dropping_a_connection() {
    let ground = Ground::new().await;
    let config = ground.config();
    new_broker_svid(&ground, Duration::from_secs(900));
    let rig = ground.start(config).await;
    let mut kept = rig.line(BILLING).await;
    assert_eq!(kept.ask("GET", "/v1/roles", None).await.status, 200);
    let before = rig.broker.metric(SVID_END).await.expect("the SVID's end");

    new_broker_svid(&rig.ground, Duration::from_secs(3600));
    wait_until(SOON, "the new SVID", || async {
        rig.broker.metric(SVID_END).await.is_ok_and(|end| end > before + 600.0)
    })
    .await;
    assert_eq!(kept.ask("GET", "/v1/roles", None).await.status, 200);

    // A second authority joins; the first stays good until it is taken away.
    let next = TestCa::new("dev.local");
    replace(&rig.ground.dir().join("bundle.pem"), &(rig.ground.ca.bundle_pem() + &next.bundle_pem()));
    let svid = next.svid(BILLING);
    std::fs::write(&svid.bundle, rig.ground.ca.bundle_pem() + &next.bundle_pem()).expect("write");
    let identity = crate::rig::load(&svid);
    wait_until(SOON, "the new authority", || async {
        let mut line = rig.line_of(&identity).await;
        line.send(request("GET", "/v1/roles", None)).await.is_ok() && matches!(line.answer().await, Ok(Some(_)))
    })
    .await;
    assert_eq!(kept.ask("GET", "/v1/roles", None).await.status, 200, "the connection was never dropped");
    rig.assert_healthy().await;
}
