//! A token that was sent to a service, exchanged for one with which it calls another (RFC 8693).

use super::world::{COLLEAGUE, LEDGER, PAYMENTS, RECEIVER, SHOP, Told, World, opened};
use crate::rig::STRANGER;

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

async fn exchange(world: &World, path: &str, token: &str, more: &[(&str, &str)]) -> Told {
    let fields = [
        &[
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token", token),
            ("subject_token_type", ACCESS_TOKEN),
        ],
        more,
    ]
    .concat();
    world.form(path, "/oauth2/token", &fields).await
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_sent_a_token_acts_on_behalf_of_its_subject_where_a_grant_says_so() {
    let world = World::new().await;
    let told = world.token("payments:write payments:read").await;
    let token = told.text("access_token");
    let told = exchange(&world, RECEIVER, token, &[("resource", LEDGER), ("tenant", "42")]).await;
    assert_eq!((told.status, told.text("issued_token_type")), (200, ACCESS_TOKEN), "{told:?}");
    assert_eq!(told.text("scope"), "payments:write", "no more than the subject's token, no more than the role");
    let (_, sent) = opened(token);
    let (header, claims) = opened(told.text("access_token"));
    assert_eq!(header["alg"], "RS256");
    for (claim, value) in [
        ("sub", "spiffe://dev.local/ns/shop/sa/web"),
        ("client_id", "spiffe://dev.local/ns/payments/sa/api"),
        ("aud", LEDGER),
    ] {
        assert_eq!(claims[claim], value, "{claims}");
    }
    assert_eq!(claims["act"]["sub"], "spiffe://dev.local/ns/payments/sa/api");
    assert!(claims["exp"].as_i64() <= sent["exp"].as_i64(), "{claims}");
    assert_ne!(claims["cnf"], sent["cnf"], "bound to the one who acts");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_such_a_grant_nobody_turns_a_token_into_one_for_somebody_else() {
    let world = World::new().await;
    let told = world.token("payments:write").await;
    let token = told.text("access_token");
    for (path, resource, error) in [
        // It was not sent to these, whatever grants they have.
        (SHOP, LEDGER, "invalid_grant"),
        (COLLEAGUE, LEDGER, "invalid_grant"),
        (STRANGER, LEDGER, "invalid_grant"),
        // Exchange is granted for the ledger only.
        (RECEIVER, PAYMENTS, "invalid_target"),
        (RECEIVER, "https://other", "invalid_target"),
    ] {
        let told = exchange(&world, path, token, &[("resource", resource), ("tenant", "42")]).await;
        assert_eq!((told.status, told.text("error")), (400, error), "{path} {resource}: {told:?}");
    }
    // What is asked for is not in the subject's token.
    let told =
        exchange(&world, RECEIVER, token, &[("resource", LEDGER), ("tenant", "42"), ("scope", "ledger:book")]).await;
    assert_eq!(told.status, 400, "{told:?}");
    // For one tenant it was sent, and not for another.
    let told = exchange(&world, RECEIVER, token, &[("resource", LEDGER), ("tenant", "43")]).await;
    assert!(told.status == 400 && told.text("error_description").contains("another tenant"), "{told:?}");
    // One who is no subject of the grant.
    let own = [("grant_type", "client_credentials"), ("resource", LEDGER), ("scope", "ledger:team")];
    let teams = world.form(RECEIVER, "/oauth2/token", &own).await;
    let told = exchange(&world, RECEIVER, teams.text("access_token"), &[("resource", LEDGER), ("tenant", "42")]).await;
    assert_eq!(told.text("error"), "invalid_grant", "{told:?}");
    // A token that has ended.
    assert_eq!(world.form(SHOP, "/oauth2/revoke", &[("token", token)]).await.status, 200);
    let told = exchange(&world, RECEIVER, token, &[("resource", LEDGER), ("tenant", "42")]).await;
    assert_eq!(told.text("error"), "invalid_grant", "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_exchange_of_ours_is_refused() {
    let world = World::new().await;
    let told = world.token("payments:write").await;
    let token = told.text("access_token");
    for more in [
        [("resource", LEDGER), ("actor_token", "x")],
        [("resource", LEDGER), ("requested_token_type", "urn:ietf:params:oauth:token-type:saml2")],
    ] {
        let told = exchange(&world, RECEIVER, token, &more).await;
        assert_eq!((told.status, told.text("error")), (400, "invalid_request"), "{more:?}: {told:?}");
    }
    let fields = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", token),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:refresh_token"),
        ("resource", LEDGER),
    ];
    assert_eq!(world.form(RECEIVER, "/oauth2/token", &fields).await.text("error"), "invalid_request");
    for bad in ["x", "a.b.c", &format!("{token}x")] {
        let told = exchange(&world, RECEIVER, bad, &[("resource", LEDGER), ("tenant", "42")]).await;
        assert_eq!(told.text("error"), "invalid_grant", "{told:?}");
    }
}
