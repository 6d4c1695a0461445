//! Tokens that are signed and forgotten.

use leasehold_client::wire::{Credential, LeaseQuery, MintRequest};

use super::world::{BRIEF, RECEIVER, SHOP, World, opened};
use crate::ground::OPERATOR;
use crate::rig::Ground;

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_a_lease_is_good_and_cannot_be_ended() {
    let world = World::new().await;
    let told = world.token("payments:ping").await;
    assert!(told.json.get("lease_id").is_none(), "{told:?}");
    let token = told.text("access_token");
    let (_, claims) = opened(token);
    assert!(claims.get("status").is_none() && claims["cnf"].is_object(), "{claims}");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 60);
    assert_eq!(world.introspect(RECEIVER, token).await["active"], true);
    let refused = world.form(SHOP, "/oauth2/revoke", &[("token", token)]).await;
    assert_eq!((refused.status, refused.text("error")), (400, "unsupported_token_type"));

    let client = world.rig.client(SHOP);
    let issued = client.mint(BRIEF, &MintRequest::default()).await.expect("a token");
    assert!(issued.lease.is_none());
    let Credential::Token(token) = issued.credential else { panic!("no token") };
    assert!(token.expires_at.ends_with('Z'), "{}", token.expires_at);
    client.close().await;
    // Its line is that of the decision.
    let operator = world.rig.client(OPERATOR);
    let leases = operator.all_leases(&LeaseQuery::default()).await.expect("the leases");
    assert!(leases.iter().all(|lease| lease.role != BRIEF), "{leases:?}");
    operator.close().await;
    let log = std::fs::read_to_string(world.rig.config.audit_path()).expect("the audit log");
    assert!(log.lines().any(|line| line.contains("\"decision\"") && line.contains(BRIEF)), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_can_end_is_short_and_for_tokens_only() {
    let ground = Ground::new().await;
    let token =
        "[token]\nissuer = \"https://l.example\"\n[targets.p]\nplugin = \"token\"\naudience = \"https://p.example\"\n";
    let seal = format!("key = {{ file = \"{}/seal.key\" }}\n{token}", ground.dir().display());
    for (lines, said) in [
        (
            "[roles.a]\ntarget = \"p\"\nttl = \"11m\"\nscopes = [\"a\"]\nlease = false",
            "roles.a.ttl: must not be longer than 10m",
        ),
        ("[roles.a]\ntarget = \"p\"\nttl = \"25h\"\nscopes = [\"a\"]", "roles.a.ttl: must not be longer than 24h"),
        ("[roles.a]\ntarget = \"orders\"\nttl = \"5m\"\nmember_of = []\nlease = false", "roles.a.lease"),
        (
            "[targets.q]\nplugin = \"token\"\naudience = \"sts.amazonaws.com\"",
            "targets.q.audience: is the audience of a cloud",
        ),
        (
            "[roles.a]\ntarget = \"p\"\nttl = \"5m\"\nscopes = [\"a\"]\nparams = { scope = \"x\" }",
            "roles.a.params.scope",
        ),
    ] {
        let config = ground.config().table("[seal]", &format!("{seal}\n{lines}"));
        let refused = ground.refused(&config).await;
        assert!(refused.contains(said), "{refused}");
    }
}
