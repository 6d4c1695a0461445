//! The endpoints that OAuth 2.0 libraries know.

use super::world::{BOOK, BRIEF, COLLEAGUE, LOOK, PAYMENTS, RECEIVER, SHOP, WRITE, World, form, opened, post, told};
use crate::rig::STRANGER;

const CLIENT_CREDENTIALS: (&str, &str) = ("grant_type", "client_credentials");
const FOR_PAYMENTS: (&str, &str) = ("resource", PAYMENTS);

#[tokio::test(flavor = "multi_thread")]
async fn scopes_and_audience_choose_the_role() {
    let world = World::new().await;
    let told = world.token("payments:write").await;
    assert_eq!((told.text("token_type"), told.text("scope")), ("Bearer", "payments:write"), "{told:?}");
    let seconds = told.json["expires_in"].as_i64().expect("expires_in");
    assert!((590..=600).contains(&seconds), "{seconds}");
    let (_, claims) = opened(told.text("access_token"));
    assert_eq!((&claims["aud"], &claims["tenant"]), (&PAYMENTS.into(), &"42".into()));
    let client = world.rig.client(SHOP);
    let lease = client.lease(told.text("lease_id")).await.expect("its lease");
    assert_eq!((lease.role.as_str(), lease.state.as_str()), (WRITE, "active"));
    client.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_told_by_its_code() {
    let world = World::new().await;
    let tenant = ("tenant", "42");
    for (path, fields, error, words) in [
        (SHOP, vec![CLIENT_CREDENTIALS], "invalid_target", "resource is missing"),
        (SHOP, vec![CLIENT_CREDENTIALS, ("resource", "https://other")], "invalid_target", "nothing lets you"),
        (SHOP, vec![CLIENT_CREDENTIALS, ("resource", LOOK)], "invalid_target", "nothing lets you"),
        (SHOP, vec![CLIENT_CREDENTIALS, FOR_PAYMENTS, ("subject_token", "canary")], "invalid_request", "subject_token"),
        (SHOP, vec![CLIENT_CREDENTIALS, FOR_PAYMENTS, ("refresh_token", "canary")], "invalid_request", "refresh_token"),
        (STRANGER, vec![CLIENT_CREDENTIALS, FOR_PAYMENTS], "invalid_target", "nothing lets you"),
        (SHOP, vec![CLIENT_CREDENTIALS, FOR_PAYMENTS, ("audience", "https://b")], "invalid_target", "two"),
        (SHOP, vec![CLIENT_CREDENTIALS, FOR_PAYMENTS, ("scope", "admin")], "invalid_scope", "no role of yours"),
        (SHOP, vec![CLIENT_CREDENTIALS, FOR_PAYMENTS], "invalid_request", LOOK),
        (SHOP, vec![CLIENT_CREDENTIALS, FOR_PAYMENTS], "invalid_request", BRIEF),
        (
            SHOP,
            vec![CLIENT_CREDENTIALS, FOR_PAYMENTS, ("scope", "payments:write"), ("tenant", "50")],
            "invalid_request",
            "4[0-9]",
        ),
        (SHOP, vec![("grant_type", "password"), FOR_PAYMENTS], "unsupported_grant_type", "password"),
        (SHOP, vec![FOR_PAYMENTS], "invalid_request", "grant_type is missing"),
        (SHOP, vec![CLIENT_CREDENTIALS, FOR_PAYMENTS, tenant, tenant], "invalid_request", "more than once"),
        (SHOP, vec![CLIENT_CREDENTIALS, FOR_PAYMENTS, ("client_id", "other")], "invalid_client", "client_id"),
        (SHOP, vec![CLIENT_CREDENTIALS, FOR_PAYMENTS, ("client_secret", "canary")], "invalid_client", "client_secret"),
    ] {
        let told = world.form(path, "/oauth2/token", &fields).await;
        assert!(matches!(told.status, 400 | 401), "{fields:?}: {told:?}");
        assert_eq!(told.text("error"), error, "{fields:?}: {told:?}");
        assert!(told.text("error_description").contains(words), "{fields:?}: {told:?}");
        assert!(!told.json.to_string().contains("canary"), "{told:?}");
    }
    let log = std::fs::read_to_string(world.rig.config.audit_path()).expect("the audit log");
    assert!(!log.contains("canary"), "a secret that was sent by mistake is on record");
    let mut line = world.rig.line(SHOP).await;
    let answer =
        post(&mut line, "/oauth2/token", "authorization: Basic eDp5\r\n", "grant_type=client_credentials").await;
    assert_eq!((answer.status, told(&answer).text("error")), (401, "invalid_client"));
    let json = line.ask("POST", "/oauth2/token", Some("{}")).await;
    assert_eq!((json.status, told(&json).text("error")), (400, "invalid_request"));
    let id = ("client_id", "spiffe://dev.local/ns/shop/sa/web");
    let fields = [CLIENT_CREDENTIALS, FOR_PAYMENTS, id, ("scope", "payments:write"), tenant];
    let good = form(&mut line, "/oauth2/token", &fields).await;
    assert_eq!(good.status, 200, "{good:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_whom_it_concerns_hear_whether_a_token_is_good() {
    let world = World::new().await;
    let told = world.token("payments:write").await;
    let token = told.text("access_token");
    for (path, active) in [(RECEIVER, true), (SHOP, true), (COLLEAGUE, false), (STRANGER, false)] {
        let told = world.introspect(path, token).await;
        assert_eq!(told["active"], active, "{path}");
        assert_eq!(told.as_object().unwrap().len() > 1, active, "{path}: {told}");
    }
    let told = world.introspect(RECEIVER, token).await;
    for (member, value) in [("scope", "payments:write"), ("tenant", "42"), ("aud", PAYMENTS), ("token_type", "Bearer")]
    {
        assert_eq!(told[member], value, "{told}");
    }
    let (head, tail) = token.rsplit_once('.').expect("a token");
    let other_end = if tail.starts_with('A') { "B" } else { "A" };
    let tampered = format!("{head}.{other_end}{}", &tail[1..]);
    for bad in ["x", "a.b.c", &tampered, &format!("{head}."), &"x".repeat(10_000)] {
        assert_eq!(world.introspect(RECEIVER, bad).await, serde_json::json!({ "active": false }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_ended_by_its_holder_and_by_nobody_else() {
    let world = World::new().await;
    let told = world.token("payments:write").await;
    let token = told.text("access_token");
    let refused = world.form(RECEIVER, "/oauth2/revoke", &[("token", token)]).await;
    assert_eq!((refused.status, refused.text("error")), (400, "unauthorized_client"));
    assert_eq!(world.introspect(RECEIVER, token).await["active"], true);
    let hint = [("token", token), ("token_type_hint", "access_token")];
    assert_eq!(world.form(SHOP, "/oauth2/revoke", &hint).await.status, 200);
    assert_eq!(world.introspect(RECEIVER, token).await["active"], false);
    // Again, and one that is none: as ended as can be.
    assert_eq!(world.form(SHOP, "/oauth2/revoke", &hint).await.status, 200);
    assert_eq!(world.form(SHOP, "/oauth2/revoke", &[("token", "nonsense")]).await.status, 200);
    let missing = world.form(SHOP, "/oauth2/revoke", &[]).await;
    assert_eq!((missing.status, missing.text("error")), (400, "invalid_request"));
    let _ = BOOK;
}
