//! What a cluster left whose store is lost for good is ended by another broker, by name and number, and nothing else is.

use std::collections::BTreeSet;

use leasehold_client::ClientError;
use leasehold_client::wire::{ReconcileRequest, ReconcileResponse};
use leasehold_testkit::{Broker, Installation, PgFixture, wait_until};
use serde_json::Value;

use super::{exists, store_files};
use crate::stage::{BILLING, Held, OPERATOR, Rights, SOON, Stage, mint};

leasehold_testkit::each_version! {
    a_dead_cluster_is_ended_by_another_one,
}

async fn looked_for(stage: &Stage, broker: &Broker, ask: ReconcileRequest) -> Result<ReconcileResponse, ClientError> {
    stage.client(broker, OPERATOR).reconcile(&ask).await
}

/// How the broker says no, and with which status.
fn refusal(answer: Result<ReconcileResponse, ClientError>) -> (u16, String) {
    let problem = answer.expect_err("it says no").problem().expect("a problem").clone();
    (problem.status, problem.detail)
}

fn of(cluster: &str) -> ReconcileRequest {
    ReconcileRequest { cluster: Some(cluster.to_owned()), ..ReconcileRequest::default() }
}

async fn run(stage: &Stage, broker: &Broker, flags: &[&str]) -> std::process::Output {
    let mut command = broker.command(&stage.svid(OPERATOR));
    command.args(["reconcile", "--output", "json"]).args(flags).output().await.expect("run it")
}

/// Lets a running broker take over a cluster that was alive just now.
async fn do_not_wait(stage: &Stage, broker: &Broker, ask: &ReconcileRequest) {
    let mut config = stage.config.clone();
    config = config.limit("takeover_quiet_seconds", 1);
    config.write();
    let ask = ReconcileRequest { takeover: Some(true), expect: Some(u64::MAX), ..ask.clone() };
    // The number is wrong, so that nothing is ended; that it is about the number says that the age is none any more.
    wait_until(SOON, "the shorter wait to be in force", || async {
        refusal(looked_for(stage, broker, ask.clone()).await).1.contains("expected")
    })
    .await;
}

fn done(report: &Value) -> BTreeSet<(String, String)> {
    let strays =
        report["targets"].as_array().expect("a list").iter().flat_map(|t| t["strays"].as_array().expect("a list"));
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    strays.map(|stray| (text(&stray["account"]), text(&stray["done"]))).collect()
}

fn each(held: &[Held], done: &str) -> BTreeSet<(String, String)> {
    held.iter().map(|held| (held.lease.account.clone(), done.to_owned())).collect()
}

async fn a_dead_cluster_is_ended_by_another_one(postgres: Installation) {
    let dead = Stage::new(PgFixture::shared(postgres.clone()).await, Rights::CreateRole).await;
    let dead = dead.with_target("ttl = \"10m\"");
    let mut its_broker = dead.broker().await;
    let client = dead.client(&its_broker, BILLING);
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(mint(&client, "10m").await.expect("a mint"));
    }
    let mut session = dead.session(&held[0]).await;
    session.execute("CREATE TABLE left_behind (n int)").await.expect("it owns something");
    client.close().await;
    its_broker.kill().await.expect("kill it");
    store_files(&dead).iter().for_each(|file| drop(std::fs::remove_file(file)));

    // The other cluster has leases of its own in the same server, and the lost one's login.
    let mut living =
        Stage::new(PgFixture::shared(postgres).await, Rights::CreateRole).await.with_target("ttl = \"10m\"");
    let theirs = "scram_iterations = 64\n";
    living.config = living.config.postgres("theirs", &dead.admin.url, &dead.admin.password, theirs);
    let broker = living.broker().await;
    let own = mint(&living.client(&broker, BILLING), "10m").await.expect("a mint");
    let cluster = dead.cluster.as_str();
    let ask = ReconcileRequest { target: Some("theirs".into()), ..of(cluster) };

    let told = run(&living, &broker, &["--cluster", cluster, "--target", "theirs"]).await;
    let told: Value = serde_json::from_slice(&told.stdout).expect("JSON");
    assert_eq!(told["matched"], 3, "{told}");
    assert_eq!(done(&told), each(&held, "would_revoke"));
    // It was alive just now; and without the number nothing is ended.
    let now = ReconcileRequest { takeover: Some(true), expect: Some(3), ..ask.clone() };
    let (status, why) = refusal(looked_for(&living, &broker, now.clone()).await);
    assert!(status == 409 && why.contains("takeover_quiet_seconds"), "{why}");
    do_not_wait(&living, &broker, &ask).await;
    for expect in [None, Some(2), Some(4)] {
        let wrong = ReconcileRequest { expect, ..now.clone() };
        assert_eq!(refusal(looked_for(&living, &broker, wrong).await).0, 409, "{expect:?}");
    }
    let stranger = living.client(&broker, BILLING).reconcile(&now).await;
    assert_eq!(refusal(stranger).0, 403);
    let own_cluster = ReconcileRequest { takeover: Some(true), expect: Some(1), ..of(&living.cluster) };
    assert_eq!(refusal(looked_for(&living, &broker, own_cluster).await).0, 400);
    assert!(session.is_alive().await, "nothing was ended so far");

    let flags = ["--cluster", cluster, "--target", "theirs", "--takeover", "--yes"];
    let ended = run(&living, &broker, &flags).await;
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let ended: Value = serde_json::from_slice(&ended.stdout).expect("JSON");
    assert_eq!(done(&ended), each(&held, "taken_over"));
    assert_eq!(ended["left"], 0, "{ended}");
    session.wait_until_dead(SOON).await;
    for held in &held {
        dead.assert_refused(held).await;
    }
    let mut superuser = dead.pg.superuser().await;
    let owner: String =
        sqlx::query_scalar("SELECT tableowner::text FROM pg_catalog.pg_tables WHERE tablename = 'left_behind'")
            .fetch_one(superuser.connection())
            .await
            .expect("what it owned is there");
    assert_eq!(owner, format!("lh_{cluster}_estate"), "it went to the dead cluster's estate");
    assert!(living.session(&own).await.is_alive().await, "the living cluster's own are left alone");
    // On record: who ordered it, and each account.
    wait_until(SOON, "it to be on record", || async {
        let log = std::fs::read_to_string(living.config.audit_path()).expect("the audit log");
        let each = held
            .iter()
            .all(|held| log.lines().any(|line| line.contains("\"taken_over\"") && line.contains(&held.lease.account)));
        each && log.lines().any(|line| line.contains("\"takeover\"") && line.contains(cluster))
    })
    .await;
    living.assert_audit_holds(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_store_of_the_own_cluster_is_ended_by_its_tag() {
    let pg = PgFixture::shared(leasehold_testkit::distribution()).await;
    let stage = Stage::new(pg, Rights::CreateRole).await.with_target("ttl = \"10m\"");
    let mut broker = stage.broker().await;
    let held = mint(&stage.client(&broker, BILLING), "10m").await.expect("a mint");
    let tag = held.lease.account.split('_').nth(2).expect("a tag").to_owned();
    broker.terminate().await.expect("it ends");
    store_files(&stage).iter().for_each(|file| drop(std::fs::remove_file(file)));
    // A new store begins a new audit chain.
    std::fs::rename(stage.config.audit_path(), stage.config.dir().join("lost-audit.jsonl")).expect("move the log away");
    broker.restart().await.expect("start it on an empty store");
    let own = mint(&stage.client(&broker, BILLING), "10m").await.expect("a mint");
    let report = super::reconcile(&stage, &broker, &[]).await;
    assert_eq!(report["foreign"], 1, "left alone, and told: {report}");
    assert!(exists(&stage, &held.lease.account).await);

    let cluster = stage.cluster.as_str();
    let without = run(&stage, &broker, &["--cluster", cluster]).await;
    assert!(String::from_utf8_lossy(&without.stderr).contains("name the tag"), "{without:?}");
    let own_tag = own.lease.account.split('_').nth(2).expect("a tag");
    let wrong = run(&stage, &broker, &["--cluster", cluster, "--tag", own_tag]).await;
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("own leases"), "{wrong:?}");
    do_not_wait(&stage, &broker, &ReconcileRequest { tag: Some(tag.clone()), ..of(cluster) }).await;
    let ended = run(&stage, &broker, &["--cluster", cluster, "--tag", &tag, "--takeover", "--yes"]).await;
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    stage.assert_refused(&held).await;
    assert!(!exists(&stage, &held.lease.account).await);
    assert!(stage.session(&own).await.is_alive().await);
    stage.quiet(&broker).await;
}
