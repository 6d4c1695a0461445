//! A store that moves: from a file into a database by `leasehold store`, and through a backup of the database.

use std::process::Output;

use leasehold_client::wire::{ReconcileRequest, StrayOrder};
use leasehold_testkit::{ConfigFile, Installation, PgOptions, wait_until};
use tokio::process::Command;

use super::Store;
use crate::ground;
use crate::stage::{BILLING, OPERATOR, SOON, end, find, mint};

leasehold_testkit::each_version! {
    a_store_moves_from_a_file_into_a_database_and_no_lease_ends,
}

async fn store(command: &str, config: &ConfigFile, more: &[&str]) -> Output {
    let mut run = Command::new(ground::PROGRAM);
    run.args(["--output", "json", "store", command, "--config"]).arg(config.write()).args(more);
    run.stdin(std::process::Stdio::null()).output().await.expect("run it")
}

#[track_caller]
fn done(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[track_caller]
fn refused(output: &Output, why: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(why), "{said}");
}

async fn a_store_moves_from_a_file_into_a_database_and_no_lease_ends(postgres: Installation) {
    let place = Store::start(PgOptions::on(postgres.clone())).await;
    let mut stage = place.stage(postgres).await;
    let in_database = stage.config.clone();
    stage.config = in_database.clone().file_store();
    let mut broker = stage.broker().await;
    let client = stage.client(&broker, BILLING);
    let (kept, ended) = (mint(&client, "10m").await.expect("a mint"), mint(&client, "10m").await.expect("a mint"));
    let mut session = stage.session(&kept).await;
    stage.client(&broker, OPERATOR).revoke(&ended.lease.id).await.expect("a revocation");
    stage.over(&broker, &ended.lease.id).await;
    let file = stage.config.dir().join("moving.jsonl");
    let file = file.to_str().expect("a path in UTF-8");
    refused(&store("export", &stage.config, &["--to", file]).await, "another broker has");
    broker.terminate().await.expect("stop it");

    let moved = done(&store("export", &stage.config, &["--to", file]).await);
    assert_eq!(moved["leases"], 2, "{moved}");
    refused(&store("export", &stage.config, &["--to", file]).await, "cannot be made");
    let (_, said) = leasehold_testkit::Broker::start_refused(stage.options()).await.expect("it ends");
    assert!(said.contains("was moved to another store"), "{said}");
    stage.config = in_database;
    assert_eq!(done(&store("import", &stage.config, &["--from", file]).await), moved);
    refused(&store("import", &stage.config, &["--from", file]).await, "there is a store in it already");

    broker.restart().await.unwrap_or_else(|e| panic!("start on the database: {e:#}"));
    assert!(session.is_alive().await);
    let leases = stage.quiet(&broker).await;
    assert_eq!(end(find(&leases, &kept.lease.id)), ("active", None));
    assert_eq!(end(find(&leases, &ended.lease.id)), ("revoked", Some("operator")));
    mint(&stage.client(&broker, BILLING), "10m").await.expect("a mint on the database");
    stage.client(&broker, BILLING).renew(&kept.lease.id, &Default::default()).await.expect("a renewal");
    stage.client(&broker, BILLING).revoke(&kept.lease.id).await.expect("a revocation");
    session.wait_until_dead(SOON).await;
    stage.quiet(&broker).await;
    stage.assert_audit_holds(&broker).await;
    let log = std::fs::read_to_string(stage.config.audit_path()).expect("read the audit log");
    assert!(log.contains("\"what\":\"store_imported\""), "the move is on record");
}

/// With the distribution's own tools.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_restored_from_its_dump_ends_nothing_by_mistake() {
    let postgres = leasehold_testkit::distribution();
    let place = Store::start(PgOptions::on(postgres.clone())).await;
    let stage = place.stage(postgres.clone()).await;
    let mut broker = stage.broker().await;
    let client = stage.client(&broker, BILLING);
    let before = mint(&client, "10m").await.expect("a mint before the backup");
    let dump = stage.config.dir().join("store.dump");
    let url = place.pg.superuser_url();
    let tool = async |name: &str, args: &[&str]| {
        let output = Command::new(postgres.bin_dir().join(name)).args(args).output().await.expect("run it");
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let dump = dump.to_str().expect("a path in UTF-8");
    tool("pg_dump", &["--format=custom", "--file", dump, &url]).await;
    let after = mint(&client, "10m").await.expect("a mint after it");
    broker.kill().await.expect("kill the broker");
    tool("pg_restore", &["--clean", "--if-exists", "--single-transaction", "--dbname", &url, dump]).await;

    broker.restart().await.unwrap_or_else(|e| panic!("start on the copy: {e:#}"));
    let held = || async {
        let found = broker.metric("leasehold_strays_total{target=\"orders\",done=\"held\"}").await;
        found.is_ok_and(|n| n >= 1.0)
    };
    wait_until(SOON, "the younger account to be held", held).await;
    for one in [&before, &after] {
        assert!(stage.session(one).await.is_alive().await);
    }
    let operator = stage.client(&broker, OPERATOR);
    let adopt = ReconcileRequest { strays: Some(StrayOrder::Adopt), ..Default::default() };
    operator.reconcile(&adopt).await.expect("adopt it");
    let leases = stage.quiet(&broker).await;
    for one in [&before, &after] {
        assert_eq!(end(find(&leases, &one.lease.id)), ("active", None));
    }
}
