//! A store that was put back to an older state: what it forgot is held, loudly, until an operator decides.

use leasehold_testkit::{Broker, PgFixture, Session};
use sqlx::Connection;

use super::{reconcile, store, store_files, strays};
use crate::stage::{BILLING, Held, OPERATOR, Rights, SOON, Stage, mint};

/// A broker on a store that has forgotten some of what lives.
struct Restored {
    stage: Stage,
    broker: Broker,
    /// Known to the store; falls due at once.
    known: Held,
    known_session: Session,
    /// Forgotten by it.
    forgotten: [Held; 2],
}

async fn restored() -> Restored {
    let pg = PgFixture::shared(leasehold_testkit::distribution()).await;
    let stage = Stage::new(pg, Rights::CreateRole).await.with_target("ttl = \"10m\"");
    let mut broker = stage.broker().await;
    let known = mint(&stage.client(&broker, BILLING), "10m").await.expect("a mint");
    let known_session = stage.session(&known).await;
    broker.terminate().await.expect("it ends");
    let backup = tempfile::tempdir().expect("a directory");
    let kept: Vec<_> = store_files(&stage).into_iter().filter(|file| file.exists()).collect();
    let copy_of = |file: &std::path::Path| backup.path().join(file.file_name().expect("a name"));
    for file in &kept {
        std::fs::copy(file, copy_of(file)).expect("back the store up");
    }

    broker.restart().await.expect("start it again");
    let client = stage.client(&broker, BILLING);
    let forgotten = [mint(&client, "10m").await.expect("a mint"), mint(&client, "10m").await.expect("a mint")];
    broker.kill().await.expect("kill the broker");
    for file in store_files(&stage).iter().filter(|file| file.exists()) {
        std::fs::remove_file(file).expect("lose the store");
    }
    for file in &kept {
        std::fs::copy(copy_of(file), file).expect("restore the store");
    }
    // Made due by hand, so that it does not matter how long all this took.
    let due = "UPDATE leases SET expires_at = issued_at, due_at = issued_at, wake_at = issued_at WHERE id = ?1";
    let mut db = store(&stage).await;
    sqlx::query(due).bind(&known.lease.id).execute(&mut db).await.expect("make it due");
    db.close().await.expect("close the store");
    broker.restart().await.expect("start it on the older store");
    Restored { stage, broker, known, known_session, forgotten }
}

impl Restored {
    fn each(&self, done: &str) -> Vec<(String, String)> {
        let mut all: Vec<_> = self.forgotten.iter().map(|h| (h.lease.account.clone(), done.to_owned())).collect();
        all.sort();
        all
    }

    /// Nothing is ended: neither what was forgotten nor what is due.
    async fn assert_held(&mut self) {
        for flags in [["--dry-run"].as_slice(), &[]] {
            let report = reconcile(&self.stage, &self.broker, flags).await;
            assert_eq!(strays(&report), self.each("held"), "{flags:?}");
        }
        assert!(self.known_session.is_alive().await, "its end is held too: the store may be wrong about it");
        for held in &self.forgotten {
            assert!(self.stage.session(held).await.is_alive().await);
        }
        assert!(self.broker.logs().contains("older copy of itself"), "loudly");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_older_store_forgot_is_held_and_can_be_adopted() {
    let mut restored = restored().await;
    restored.assert_held().await;
    // Neither a newer mint nor a restart makes it forget that.
    let newer = mint(&restored.stage.client(&restored.broker, BILLING), "10m").await.expect("mints go on");
    restored.assert_held().await;
    restored.broker.restart().await.expect("start it again");
    restored.assert_held().await;

    let adopted = reconcile(&restored.stage, &restored.broker, &["--adopt"]).await;
    assert_eq!(strays(&adopted), restored.each("adopted"));
    let Restored { stage, broker, known, known_session, forgotten } = restored;
    known_session.wait_until_dead(SOON).await;
    stage.over(&broker, &known.lease.id).await;
    for held in &forgotten {
        assert_eq!(stage.lease(&broker, &held.lease.id).await.state, "active");
        assert!(stage.session(held).await.is_alive().await);
    }
    stage.quiet(&broker).await;
    let operator = stage.client(&broker, OPERATOR);
    for held in forgotten.iter().chain([&newer]) {
        operator.revoke(&held.lease.id).await.expect("what was adopted can be ended");
    }
    stage.quiet(&broker).await;
    assert!(stage.accounts().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_older_store_forgot_can_be_ended() {
    let mut restored = restored().await;
    restored.assert_held().await;
    let sessions =
        [restored.stage.session(&restored.forgotten[0]).await, restored.stage.session(&restored.forgotten[1]).await];
    let ended = reconcile(&restored.stage, &restored.broker, &["--revoke"]).await;
    assert_eq!(strays(&ended), restored.each("revoked"));
    let Restored { stage, broker, known, known_session, forgotten } = restored;
    for session in sessions {
        session.wait_until_dead(SOON).await;
    }
    for held in &forgotten {
        stage.assert_refused(held).await;
    }
    known_session.wait_until_dead(SOON).await;
    stage.over(&broker, &known.lease.id).await;
    stage.quiet(&broker).await;
    mint(&stage.client(&broker, BILLING), "10m").await.expect("it mints as before");
    assert!(strays(&reconcile(&stage, &broker, &[]).await).is_empty());
    stage.assert_audit_holds(&broker).await;
}
