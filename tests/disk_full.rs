//! A disk that is full: nothing is handed out that cannot be put on record, nothing is made that cannot be recorded, and
//! with space again all goes on where it was.
//!
//! The disk is full for the broker alone: the kernel lets it write no file beyond a size (`RLIMIT_FSIZE`), which needs no
//! rights, tears a line in the middle as a full disk does, and can be lifted while it runs.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use leasehold_client::Client;
use leasehold_client::wire::{DecisionRequest, RevokeManyRequest, Selector};
use leasehold_testkit::{Broker, PgFixture, wait_until};
use sqlx::{Connection, SqliteConnection};

use crate::stage::{BILLING, OPERATOR, ROLE, Rights, SOON, Stage, end, find, mint, refusal};

async fn stage() -> (Stage, Broker) {
    let pg = PgFixture::shared(leasehold_testkit::distribution()).await;
    let stage = Stage::new(pg, Rights::CreateRole).await.with_target("ttl = \"10m\"");
    let stage = stage.limit("questions_per_minute_per_identity", 100_000);
    let wrapper = stage.config.dir().join("wrapper.sh");
    // Writing beyond the limit is then an error and no deadly signal.
    let text = format!("#!/bin/sh\ntrap '' XFSZ\nexec '{}' \"$@\"\n", env!("CARGO_BIN_EXE_leasehold"));
    std::fs::write(&wrapper, text).expect("write the wrapper");
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).expect("make it a program");
    let mut options = stage.options();
    options.binary = wrapper;
    let broker = Broker::start(options).await.unwrap_or_else(|e| panic!("{e:#}"));
    (stage, broker)
}

/// No file of the broker may grow beyond this many bytes from now on; `None`: any may.
fn limit_files(broker: &Broker, bytes: Option<u64>) {
    let pid = broker.pid().expect("it runs").to_string();
    let size = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
    let done = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={size}:unlimited")]).status();
    assert!(done.expect("run prlimit (util-linux)").success());
}

fn size(stage: &Stage, file: &str) -> u64 {
    std::fs::metadata(stage.config.dir().join(file)).map_or(0, |found| found.len())
}

async fn is_ready(broker: &Broker) -> bool {
    matches!(broker.ops("/readyz").await, Ok((200, _)))
}

/// Decisions are put on record and touch no store, so that the audit log outgrows the store's files.
async fn grow_the_audit_log(stage: &Stage, client: &Client) {
    let beyond = size(stage, "leasehold.db").max(size(stage, "leasehold.db-wal")) + 300_000;
    let role = "nobody-has-such-a-role-".repeat(20);
    let ask = DecisionRequest { identity: None, action: "mint".into(), role, params: None, subject: None };
    while size(stage, "audit.jsonl") < beyond {
        client.decide(&ask).await.expect("a decision about oneself");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_space_for_the_audit_log_nothing_is_handed_out_but_ending_goes_on() {
    let (stage, broker) = stage().await;
    let client = stage.client(&broker, BILLING);
    let held = [mint(&client, "10m").await.expect("a mint"), mint(&client, "10m").await.expect("a mint")];
    let session = stage.session(&held[0]).await;
    grow_the_audit_log(&stage, &client).await;

    // The next line is torn in the middle.
    limit_files(&broker, Some(size(&stage, "audit.jsonl") + 50));
    for _ in 0..3 {
        let problem = refusal(mint(&client, "10m").await);
        assert!(problem.status == 503 && problem.detail.contains("audit"), "{problem:?}");
    }
    wait_until(SOON, "it to say that it is not ready", || async { !is_ready(&broker).await }).await;
    let ended = client.revoke(&held[0].lease.id).await.expect("ending never waits for audit");
    assert_eq!(end(&ended), ("revoked", Some("caller")));
    session.wait_until_dead(SOON).await;
    // What was made for the refused mints goes, too.
    let left = [held[1].lease.account.clone()].into();
    wait_until(SOON, "one account to be left", || async { stage.accounts().await == left }).await;

    let all_of_role = RevokeManyRequest::of(Selector::Role(ROLE.into()));
    let order = stage.client(&broker, OPERATOR).revoke_many(&all_of_role).await.expect("nor does an order for many");
    assert_eq!(order.matched, 1);
    wait_until(SOON, "no account to be left", || async { stage.accounts().await.is_empty() }).await;

    limit_files(&broker, None);
    wait_until(SOON, "it to be ready again", || async { is_ready(&broker).await }).await;
    let minted = mint(&client, "10m").await.expect("it mints again");
    // Who ended what is on record, and what waited comes before what is handed out afterwards.
    let log = std::fs::read_to_string(stage.config.audit_path()).expect("the audit log");
    let line_with =
        |text: &str| log.lines().position(|line| line.contains(text)).unwrap_or_else(|| panic!("no {text}"));
    let order = order.order.expect("an order has an id");
    assert!(line_with(&order) < line_with(&minted.lease.id), "{log}");
    assert!(
        log.lines().any(|line| line.contains("\"action\":\"revoke\"") && line.contains(&held[0].lease.id)),
        "{log}"
    );
    let on_record = || {
        let log = std::fs::read_to_string(stage.config.audit_path()).expect("the audit log");
        let revoked = |line: &&str| line.contains(&held[0].lease.id) && line.contains("\"revoked\"");
        log.lines().filter(revoked).count()
    };
    wait_until(SOON, "the ending to be on record", || async { on_record() > 0 }).await;
    assert_eq!(on_record(), 1, "once");
    stage.quiet(&broker).await;
    stage.assert_audit_holds(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_space_for_the_store_nothing_is_made() {
    let (stage, broker) = stage().await;
    let client = stage.client(&broker, BILLING);
    let held = mint(&client, "10m").await.expect("a mint");
    let mut session = stage.session(&held).await;
    let before = stage.accounts().await;
    // A reader keeps SQLite from using the space in its log again, so that every change needs more of it.
    let mut reader =
        SqliteConnection::connect(&format!("sqlite://{}", stage.config.dir().join("leasehold.db").display()))
            .await
            .expect("open the store");
    let mut reading = reader.begin().await.expect("begin to read");
    sqlx::query("SELECT count(*) FROM leases").execute(&mut *reading).await.expect("read");
    let log = size(&stage, "leasehold.db-wal");
    assert!(size(&stage, "audit.jsonl") + 20_000 < log, "the audit log is not what is full");
    limit_files(&broker, Some(log));
    for _ in 0..3 {
        let problem = refusal(mint(&client, "10m").await);
        assert!(problem.status == 503 && problem.detail.contains("store"), "{problem:?}");
    }
    assert_eq!(stage.accounts().await, before, "nothing is made that is not recorded");
    wait_until(SOON, "it to say that it is not ready", || async { !is_ready(&broker).await }).await;
    client.revoke(&held.lease.id).await.expect_err("an end that cannot be recorded is not promised");
    assert!(session.is_alive().await);

    limit_files(&broker, None);
    drop(reading);
    wait_until(SOON, "it to be ready again", || async { is_ready(&broker).await }).await;
    let again = mint(&client, "10m").await.expect("it mints again");
    stage.client(&broker, OPERATOR).revoke(&held.lease.id).await.expect("and ends");
    session.wait_until_dead(SOON).await;
    let leases = stage.quiet(&broker).await;
    assert!(find(&leases, &again.lease.id).role == ROLE && leases.len() == 2, "{leases:#?}");
    stage.assert_audit_holds(&broker).await;
}
