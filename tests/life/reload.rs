//! The configuration changes under a running broker: taken whole, or refused whole and the running one kept.

use leasehold_testkit::{Broker, ConfigFile, PgFixture, wait_until};

use crate::stage::{BILLING, ROLE, Rights, SOON, Stage, mint, mint_of, refusal};

/// A stage, and its configuration without target and role.
async fn stage() -> (Stage, ConfigFile) {
    let pg = PgFixture::shared(leasehold_testkit::distribution()).await;
    let stage = Stage::new(pg, Rights::CreateRole).await;
    let bare = Stage::bare(&stage);
    (stage.with_target("ttl = \"10m\""), bare)
}

async fn logged(broker: &Broker, text: &str) {
    wait_until(SOON, &format!("the log to say {text:?}"), || async { broker.logs().contains(text) }).await;
}

fn extra(stage: &Stage) -> ConfigFile {
    let lines = format!("target = \"orders\"\nmember_of = [\"{}\"]\nttl = \"10m\"", stage.group);
    let config = stage.config.clone().role("extra", &lines);
    config.grant("billing has more", &["spiffe://dev.local/billing"], &["extra"], &["mint"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_role_is_usable_after_sighup_and_after_a_change_alone() {
    let (stage, _) = stage().await;
    let broker = stage.broker().await;
    let client = stage.client(&broker, BILLING);
    assert_eq!(refusal(mint_of(&client, "extra", &Default::default()).await).status, 403);
    let old = mint(&client, "10m").await.expect("a mint");

    extra(&stage).write();
    broker.reload().expect("SIGHUP");
    wait_until(SOON, "the new role", || async { mint_of(&client, "extra", &Default::default()).await.is_ok() }).await;
    assert!(stage.session(&old).await.is_alive().await, "what lived lives on");

    // Back again, and nobody says so.
    stage.config.write();
    wait_until(SOON, "the role to be gone", || async {
        matches!(mint_of(&client, "extra", &Default::default()).await, Err(e) if e.to_string().contains("grant"))
    })
    .await;
    mint(&client, "10m").await.expect("the first role is as before");
    stage.quiet(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_file_is_refused_whole_and_the_running_configuration_kept() {
    let (stage, _) = stage().await;
    let broker = stage.broker().await;
    let client = stage.client(&broker, BILLING);
    // Good in its first part, wrong in its last: nothing of it may take effect.
    extra(&stage).role("broken", "target = \"orders\"\nttl = \"10 parsecs\"").write();
    broker.reload().expect("SIGHUP");
    logged(&broker, "roles.broken.ttl").await;
    assert!(broker.logs().contains("leasehold.toml:"), "the line is named");
    assert_eq!(refusal(mint_of(&client, "extra", &Default::default()).await).status, 403);
    mint(&client, "10m").await.expect("the running configuration is kept");

    std::fs::write(stage.config.dir().join("leasehold.toml"), "this is no TOML").expect("write nonsense");
    logged(&broker, "is refused").await;
    mint(&client, "10m").await.expect("the running configuration is kept");
    extra(&stage).write();
    wait_until(SOON, "the mended file", || async { mint_of(&client, "extra", &Default::default()).await.is_ok() })
        .await;
    stage.quiet(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_with_leases_cannot_be_dropped_but_retired() {
    let (stage, bare) = stage().await;
    let mut broker = stage.broker().await;
    let client = stage.client(&broker, BILLING);
    let held = [mint(&client, "10m").await.expect("a mint"), mint(&client, "10m").await.expect("a mint")];

    bare.write();
    broker.reload().expect("SIGHUP");
    logged(&broker, "2 leases that have not ended").await;
    let third = mint(&client, "10m").await.expect("the running configuration is kept");
    client.revoke(&third.lease.id).await.expect("and ends leases");

    // The same at a start.
    assert!(broker.terminate().await.expect("it ends").success());
    let mut options = stage.options();
    bare.write();
    options.timeout = SOON;
    let (status, said) = Broker::start_refused(options).await.expect("it ends at once");
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("targets.orders") && said.contains("leases that have not ended"), "{said}");

    let retired = stage.config.text().replace("plugin = \"postgres\"\n", "plugin = \"postgres\"\nretired = true\n");
    std::fs::write(stage.config.dir().join("leasehold.toml"), retired).expect("write the configuration");
    broker.restart().await.expect("it starts with a retired target");
    let client = stage.client(&broker, BILLING);
    let problem = refusal(mint(&client, "10m").await);
    assert!(problem.status >= 400 && problem.detail.contains("retired"), "{problem:?}");
    for held in &held {
        assert!(stage.session(held).await.is_alive().await, "what lives in it lives on");
        client.revoke(&held.lease.id).await.expect("and can be ended");
    }
    let leases = stage.quiet(&broker).await;
    assert!(leases.iter().all(|lease| lease.is_over() && lease.role == ROLE), "{leases:?}");
    bare.write();
    broker.reload().expect("SIGHUP");
    logged(&broker, "the new configuration is in force").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_its_target_calls_too_strong_keeps_nothing_else_from_working() {
    let (stage, _) = stage().await;
    let strong = leasehold_testkit::unique("strong");
    let mut superuser = stage.pg.superuser().await;
    let sql = format!(
        "CREATE ROLE {strong} NOLOGIN; GRANT {strong} TO {} WITH ADMIN OPTION; GRANT pg_execute_server_program TO {strong}",
        stage.admin.name
    );
    superuser.execute(&sql).await.expect("make a strong group");
    let lines = format!("target = \"orders\"\nmember_of = [\"{strong}\"]\nttl = \"10m\"");
    let with_strong = stage.config.clone().role("strong", &lines).grant(
        "billing is strong",
        &["spiffe://dev.local/billing"],
        &["strong"],
        &["mint"],
    );
    with_strong.write();
    let broker = crate::ground::start(crate::ground::options(&with_strong)).await;
    let client = stage.client(&broker, BILLING);
    logged(&broker, "nothing of this role is minted").await;
    let problem = refusal(mint_of(&client, "strong", &Default::default()).await);
    assert!(problem.detail.contains("pg_execute_server_program"), "{problem:?}");
    mint(&client, "10m").await.expect("the other role is minted");

    // Another such role does not come into force; another change does.
    with_strong.clone().role("stronger", &lines).write();
    broker.reload().expect("SIGHUP");
    logged(&broker, "roles.stronger").await;
    with_strong.grant("more", &["spiffe://dev.local/billing"], &[ROLE], &["read"]).write();
    broker.reload().expect("SIGHUP");
    logged(&broker, "the new configuration is in force").await;
    stage.quiet(&broker).await;
}
