//! Tokens by role, under leases like every credential.

use leasehold_client::wire::{BlockRequest, Credential, MintRequest};
use leasehold_testkit::wait_until;

use super::world::{BOOK, LOOK, PAYMENTS, RECEIVER, SHOP, TEAM, WRITE, World, opened};
use crate::ground::{OPERATOR, SOON};

fn for_tenant(tenant: &str) -> MintRequest {
    MintRequest { params: Some([("tenant".to_owned(), tenant.to_owned())].into()), ..MintRequest::default() }
}

fn token_of(credential: &Credential) -> String {
    use secrecy::ExposeSecret;
    let Credential::Token(token) = credential else { panic!("no token but {}", credential.kind()) };
    token.access_token.expose_secret().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_has_a_lease_and_says_whom_it_is_for() {
    let world = World::new().await;
    let client = world.rig.client(SHOP);
    let issued = client.mint(WRITE, &for_tenant("42")).await.expect("a token");
    let lease = issued.lease.expect("a lease");
    assert_eq!((lease.revocable.as_str(), lease.renewable, lease.state.as_str()), ("eventual", false, "active"));
    let token = token_of(&issued.credential);
    let (header, claims) = opened(&token);
    assert_eq!((&header["typ"], &header["alg"]), (&"at+jwt".into(), &"ES256".into()));
    for (claim, value) in [
        ("iss", "https://leasehold.example.org"),
        ("aud", PAYMENTS),
        ("sub", "spiffe://dev.local/ns/shop/sa/web"),
        ("client_id", "spiffe://dev.local/ns/shop/sa/web"),
        ("scope", "payments:read payments:write"),
        ("tenant", "42"),
        ("tier", "gold"),
        ("jti", &lease.account),
    ] {
        assert_eq!(claims[claim], value, "{claims}");
    }
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 600);
    assert_eq!(claims["cnf"]["x5t#S256"].as_str().expect("it is bound").len(), 43);
    assert!(claims["status"]["status_list"]["idx"].is_u64(), "{claims}");

    let refused = client.renew(&lease.id, &Default::default()).await.expect_err("its end is signed");
    assert_eq!(refused.status(), Some(409), "{refused}");

    // Whoever asks hears of its end at once.
    assert_eq!(world.introspect(RECEIVER, &token).await["active"], true);
    let operator = world.rig.client(OPERATOR);
    let ended = operator.revoke(&lease.id).await.expect("a revocation");
    assert_eq!((ended.state.as_str(), ended.ended_by.as_deref()), ("revoked", Some("operator")));
    assert_eq!(world.introspect(RECEIVER, &token).await["active"], false);
    client.close().await;
    operator.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_algorithm_signs_and_a_token_that_is_not_bound_says_so() {
    let world = World::new().await;
    let client = world.rig.client(SHOP);
    let issued = client.mint(LOOK, &MintRequest::default()).await.expect("a token");
    let (header, claims) = opened(&token_of(&issued.credential));
    assert_eq!((&header["alg"], claims.get("cnf")), (&"EdDSA".into(), None));
    let longer = MintRequest { ttl: Some("1h".into()), ..MintRequest::default() };
    let issued = client.mint(LOOK, &longer).await.expect("a token for longer");
    // An SVID of these tests lives an hour or less: no token outlives it.
    let (_, claims) = opened(&token_of(&issued.credential));
    assert!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap() <= 3600);
    client.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_identity_decides_what_is_said_and_not_the_caller() {
    let world = World::new().await;
    let team = world.rig.client(SHOP);
    let issued = team.mint(TEAM, &MintRequest::default()).await.expect("a token");
    assert_eq!(opened(&token_of(&issued.credential)).1["team"], "shop");
    // One tenant more than the grant allows, a param that is none, a role without a grant.
    for (role, ask) in [(WRITE, for_tenant("50")), (TEAM, for_tenant("42")), (BOOK, MintRequest::default())] {
        let refused = team.mint(role, &ask).await.expect_err("no grant");
        assert_eq!(refused.status(), Some(403), "{role}: {refused}");
    }
    let no_scope = MintRequest { scope: Some("payments:admin".into()), ..for_tenant("42") };
    assert_eq!(team.mint(WRITE, &no_scope).await.expect_err("no such scope").status(), Some(400));
    team.close().await;
    // A partner's workload may pay for one tenant, whatever it asks for.
    let partner = world.rig.ground.of_partner(&world.partner, "/shop");
    let mut line = world.rig.line_of(&partner).await;
    for (tenant, status) in [("42", 403), ("7000", 403), ("700", 201)] {
        let ask = format!("{{\"params\":{{\"tenant\":\"{tenant}\"}}}}");
        let answer = line.ask("POST", "/v1/credentials/payments-write", Some(&ask)).await;
        assert_eq!(answer.status, status, "{tenant}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_somebody_blocked_is_not_good_any_more() {
    let world = World::new().await;
    let token = world.token("payments:write").await;
    let token = token.text("access_token");
    assert_eq!(world.introspect(RECEIVER, token).await["active"], true);
    let operator = world.rig.client(OPERATOR);
    let shop = BlockRequest { identity: "spiffe://dev.local/ns/shop/sa/web".into(), reason: None };
    operator.block(&shop).await.expect("a block");
    wait_until(SOON, "the block to be known", || async { world.introspect(RECEIVER, token).await["active"] == false })
        .await;
    operator.close().await;
}
