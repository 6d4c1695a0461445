//! A role that gives away too much is refused, however far away the right is.

use leasehold_sdk::EngineError;
use leasehold_testkit::{Installation, PgFixture, unique};
use serde_json::{Value, json};

use super::support::{Bench, superuser};

leasehold_testkit::each_version! {
    a_right_at_the_end_of_a_chain_is_refused_unless_allowed_by_name,
    groups_that_are_somebody_are_refused,
    a_receiver_must_not_be_strong_either,
}

async fn refused(bench: &Bench, role: Value) -> String {
    match bench.engine.vet(&bench.role(role.clone())).await {
        Err(EngineError::Refused { why }) => why.as_str().to_owned(),
        other => panic!("{role}: {other:?}"),
    }
}

async fn a_right_at_the_end_of_a_chain_is_refused_unless_allowed_by_name(postgres: Installation) {
    let pg = PgFixture::shared(postgres).await;
    let admin = pg.admin(&[]).await;
    let bench = Bench::new(&admin, json!({}));
    // From 16 on a membership may be without inheritance; it is still one `SET ROLE` away.
    let hidden = if pg.server().version_major() >= 16 { " WITH INHERIT FALSE" } else { "" };
    for (strong, word) in [
        ("SUPERUSER", "SUPERUSER"),
        ("CREATEROLE", "CREATEROLE"),
        ("REPLICATION", "REPLICATION"),
        ("BYPASSRLS", "BYPASSRLS"),
        ("IN ROLE pg_execute_server_program", "pg_execute_server_program"),
        ("IN ROLE pg_read_server_files", "pg_read_server_files"),
        ("IN ROLE pg_write_server_files", "pg_write_server_files"),
        (format!("IN ROLE {}", admin.name).as_str(), admin.name.as_str()),
    ] {
        let (near, middle, far) = (unique("near"), unique("middle"), unique("far"));
        superuser(&pg, &format!("CREATE ROLE {far} {strong}; CREATE ROLE {middle}; CREATE ROLE {near} NOINHERIT"))
            .await;
        superuser(&pg, &format!("GRANT {far} TO {middle}{hidden}; GRANT {middle} TO {near}")).await;
        let why = refused(&bench, json!({"member_of": [near]})).await;
        assert!(why.contains(&format!("allow_dangerous = [{word:?}]")), "{why}");
        refused(&bench, json!({"member_of": [near], "allow_dangerous": ["CREATEDB", "pg_monitor"]})).await;
        let role = bench.role(json!({"member_of": [near], "allow_dangerous": [word]}));
        let allowed = bench.engine.vet(&role).await.expect("allowed by name");
        assert!(allowed.iter().any(|a| a.starts_with(word)), "{allowed:?}");
    }
}

async fn groups_that_are_somebody_are_refused(postgres: Installation) {
    let pg = PgFixture::shared(postgres).await;
    let group = pg.reader_group().await;
    let bench = Bench::new(&pg.admin(&[&group]).await, json!({}));
    let plain = bench.role(json!({"member_of": [group]}));
    assert_eq!(bench.engine.vet(&plain).await, Ok(Vec::new()));
    let (plan, minted) = bench.mint(&plain).await;

    let person = pg.login("person", "").await.name;
    let mark = format!("lh_{}", bench.cluster);
    for (role, why) in [
        (json!({"member_of": ["nobody"]}), "no role \"nobody\""),
        (json!({"member_of": [person]}), "LOGIN"),
        (json!({"set_role": person}), "LOGIN"),
        (json!({"member_of": [plan.account.to_string()]}), "Leasehold's own"),
        (json!({"member_of": [mark]}), "Leasehold's own"),
        (json!({"set_role": format!("{mark}_estate")}), "Leasehold's own"),
        (json!({"member_of": [group], "reassign_to": "nobody"}), "no role \"nobody\""),
    ] {
        let said = refused(&bench, role.clone()).await;
        assert!(said.contains(why), "{role}: {said}");
    }
    let allowed = bench.role(json!({"member_of": [person], "allow_dangerous": [person]}));
    assert_eq!(bench.engine.vet(&allowed).await, Ok(vec![person]));
    bench.revoke(plan, &minted).await;
}

async fn a_receiver_must_not_be_strong_either(postgres: Installation) {
    let pg = PgFixture::shared(postgres).await;
    let group = pg.reader_group().await;
    let admin = pg.admin(&[&group]).await;
    let bench = Bench::new(&admin, json!({}));
    let (strong, plain) = (unique("strong"), pg.login("receiver", "").await.name);
    superuser(&pg, &format!("CREATE ROLE {strong} SUPERUSER")).await;
    let said = refused(&bench, json!({"member_of": [group], "reassign_to": strong})).await;
    assert!(said.contains("leave behind") && said.contains("SUPERUSER"), "{said}");
    let said =
        refused(&bench, json!({"member_of": [group], "reassign_to": admin.name, "allow_dangerous": [admin.name]}))
            .await;
    assert!(said.contains("own admin"), "{said}");
    let role = bench.role(json!({"member_of": [group], "reassign_to": plain}));
    assert_eq!(bench.engine.vet(&role).await, Ok(Vec::new()), "a receiver may log in: it is somebody by design");
}
