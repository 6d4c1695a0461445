//! Backups as docs/operations.md says: taken while the broker works, put back after more has happened. What lives is not
//! ended by mistake, and what was minted since is not forgotten.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use leasehold_client::wire::{RenewRequest, RevokeManyRequest, Selector};
use leasehold_sdk::clock;
use leasehold_testkit::{Broker, PgFixture, wait_until};
use sqlx::Connection;

use super::{reconcile, store, store_files, strays};
use crate::stage::{BILLING, Held, OPERATOR, Rights, SOON, Stage, end, mint};

/// Services that ask at once.
const MINTERS: usize = 4;

async fn stage(role: &str) -> (Stage, Broker) {
    let pg = PgFixture::shared(leasehold_testkit::distribution()).await;
    let stage = Stage::new(pg, Rights::CreateRole).await.with_target(role);
    let broker = stage.broker().await;
    (stage, broker)
}

/// The documented statement, as an operator's `sqlite3` runs it beside the broker.
async fn back_up(stage: &Stage) -> PathBuf {
    let copy = stage.config.dir().join("backup.db");
    let mut db = store(stage).await;
    let into = sqlx::query("VACUUM INTO ?1").bind(copy.to_str().expect("a path in UTF-8"));
    into.execute(&mut db).await.expect("back the store up");
    db.close().await.expect("close the store");
    copy
}

/// Takes the store away and puts the copy in its place, the broker being down.
fn restore(stage: &Stage, copy: &std::path::Path) {
    for file in store_files(stage).iter().filter(|file| file.exists()) {
        std::fs::remove_file(file).expect("take the store away");
    }
    std::fs::copy(copy, stage.config.dir().join("leasehold.db")).expect("put the copy in its place");
}

/// Mints from many sides until told to stop.
fn load(stage: &Stage, broker: &Broker, stop: &Arc<AtomicBool>) -> Vec<tokio::task::JoinHandle<Vec<Held>>> {
    let minter = |_| {
        let (client, stop) = (stage.client(broker, BILLING), stop.clone());
        tokio::spawn(async move {
            let mut held = Vec::new();
            while !stop.load(Ordering::Acquire) {
                held.push(mint(&client, "10m").await.expect("a mint under load"));
            }
            client.close().await;
            held
        })
    };
    (0..MINTERS).map(minter).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_taken_under_load_forgets_nobody_who_is_adopted() {
    let (stage, mut broker) = stage("ttl = \"10m\"").await;
    let first = mint(&stage.client(&broker, BILLING), "10m").await.expect("a mint");
    let stop = Arc::new(AtomicBool::new(false));
    let minters = load(&stage, &broker, &stop);
    let count = async |n: usize| stage.accounts().await.len() >= n;
    wait_until(SOON, "some to be there before the backup", || count(12)).await;
    let copy = back_up(&stage).await;
    let before = stage.accounts().await.len();
    wait_until(SOON, "some to be made after it", || count(before + 12)).await;
    stop.store(true, Ordering::Release);
    let mut held = vec![first];
    for minter in minters {
        held.extend(minter.await.expect("it mints"));
    }
    broker.kill().await.expect("kill the broker");
    restore(&stage, &copy);
    // One that the backup saw in the moment of its mint, whatever the load left there.
    let unfinished = "UPDATE leases SET state = 'pending', receipt = NULL, mint_deadline = issued_at, due_at = issued_at, \
                      wake_at = issued_at WHERE id = ?1";
    let mut db = store(&stage).await;
    sqlx::query(unfinished).bind(&held[0].lease.id).execute(&mut db).await.expect("edit the copy");
    db.close().await.expect("close the store");

    broker.restart().await.expect("start it on the copy");
    let told = strays(&reconcile(&stage, &broker, &["--dry-run"]).await);
    assert!(told.len() >= 12 && told.iter().all(|(_, done)| done == "held"), "{told:?}");
    for held in &held {
        assert!(stage.session(held).await.is_alive().await, "{} was ended by mistake", held.lease.account);
    }
    let adopted = strays(&reconcile(&stage, &broker, &["--adopt"]).await);
    assert!(adopted.len() > told.len(), "those that it forgot, and the unfinished one: {adopted:?}");
    stage.quiet(&broker).await;
    for held in &held {
        assert_eq!(stage.lease(&broker, &held.lease.id).await.state, "active", "{}", held.lease.account);
        assert!(stage.session(held).await.is_alive().await);
    }
    let all = RevokeManyRequest { expect: Some(held.len() as u64), ..RevokeManyRequest::of(Selector::All) };
    stage.client(&broker, OPERATOR).revoke_many(&all).await.expect("all of them can be ended");
    wait_until(SOON, "no account to be left", || async { stage.accounts().await.is_empty() }).await;
    stage.quiet(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_renewed_since_the_backup_does_not_end_by_the_older_row() {
    let (stage, mut broker) = stage("ttl = \"20s\"\nmax_ttl = \"10m\"").await;
    let client = stage.client(&broker, BILLING);
    let renewed = mint(&client, "20s").await.expect("a mint");
    let left = mint(&client, "20s").await.expect("a mint");
    let copy = back_up(&stage).await;
    let ask = RenewRequest { ttl: Some("5m".to_owned()) };
    let now = client.renew(&renewed.lease.id, &ask).await.expect("renewed after the backup");
    client.close().await;
    let mut session = stage.session(&renewed).await;
    broker.kill().await.expect("kill the broker");
    restore(&stage, &copy);
    wait_until(SOON, "the older row to be due", || async { clock::wall().to_string() > left.lease.expires_at }).await;

    broker.restart().await.expect("start it on the copy");
    let over = stage.over(&broker, &left.lease.id).await;
    assert_eq!(end(&over), ("revoked", Some("expiry")), "what was not renewed ends");
    let lease = stage.lease(&broker, &renewed.lease.id).await;
    assert_eq!((lease.state.as_str(), &lease.expires_at), ("active", &now.expires_at));
    assert!(session.is_alive().await && stage.session(&renewed).await.is_alive().await);
    wait_until(SOON, "it to be on record", || async {
        let log = std::fs::read_to_string(stage.config.audit_path()).expect("the audit log");
        log.lines().any(|line| line.contains("\"renewed\"") && line.contains(&renewed.lease.account))
    })
    .await;
    // From here on it is a lease like any other.
    stage.client(&broker, BILLING).renew(&renewed.lease.id, &ask).await.expect("it can be renewed");
    stage.client(&broker, BILLING).revoke(&renewed.lease.id).await.expect("and ended");
    session.wait_until_dead(SOON).await;
    stage.quiet(&broker).await;
    stage.assert_audit_holds(&broker).await;
}
