//! Custody: admin logins with passwords that nobody has seen.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use leasehold_client::wire::RotateAdminRequest;
use leasehold_client::{Client, ClientError};
use leasehold_sdk::failpoint::STEPS;
use leasehold_testkit::{Broker, Installation, PgFixture, wait_until};

use crate::ground::TARGET;
use crate::stage::{BILLING, OPERATOR, Rights, SOON, Stage, mint};

leasehold_testkit::each_version! {
    a_rotated_password_is_in_force_and_the_old_one_is_not,
    killed_at_each_step_of_a_rotation_the_broker_still_reaches_its_target,
    a_store_that_was_put_back_reaches_its_targets_again,
}

const KEY: &str = "key = { file = \"seal.key\" }";

async fn stage(postgres: Installation) -> Stage {
    sealed(postgres, KEY).await
}

/// With these lines in `[seal]`.
async fn sealed(postgres: Installation, lines: &str) -> Stage {
    let pg = PgFixture::shared(postgres).await;
    let mut stage = Stage::new(pg, Rights::CreateRole).await.with_target("ttl = \"10m\"");
    stage.config = stage.config.table("[seal]", lines);
    stage
}

async fn rotate(client: &Client) -> Result<u64, ClientError> {
    let ask = RotateAdminRequest { no_recovery: Some(true) };
    client.rotate_admin(TARGET, &ask).await.map(|done| done.generation)
}

/// Mints, and ends what it minted.
async fn works(stage: &Stage, broker: &Broker) {
    let held = mint(&stage.client(broker, BILLING), "10m").await.expect("a mint");
    stage.session(&held).await;
    stage.client(broker, OPERATOR).revoke(&held.lease.id).await.expect("a revocation");
    stage.over(broker, &held.lease.id).await;
}

async fn a_rotated_password_is_in_force_and_the_old_one_is_not(postgres: Installation) {
    let stage = stage(postgres).await;
    let (user, first) = (stage.admin.name.clone(), stage.admin.password.clone());
    let mut broker = stage.broker().await;
    works(&stage, &broker).await;
    let operator = stage.client(&broker, OPERATOR);

    // Without anybody who could recover it, only when told so.
    let refused =
        operator.rotate_admin(TARGET, &RotateAdminRequest::default()).await.expect_err("nobody could recover it");
    assert!(refused.to_string().contains("recovery_recipients"), "{refused}");
    stage.pg.try_login(&user, &first).await.map(drop).expect("nothing was changed");
    assert!(matches!(rotate(&stage.client(&broker, BILLING)).await, Err(ClientError::Problem(p)) if p.status == 403));

    assert_eq!(rotate(&operator).await.expect("a rotation"), 1);
    stage.pg.assert_refused(&user, &first).await;
    works(&stage, &broker).await;
    assert_eq!(rotate(&operator).await.expect("another one"), 2);

    // A broker that starts knows it too, although its configuration still has the first.
    broker.kill().await.expect("kill it");
    broker.restart().await.expect("start it again");
    works(&stage, &broker).await;
    stage.assert_audit_holds(&broker).await;
    let log = std::fs::read_to_string(stage.config.audit_path()).expect("the audit log");
    assert!(log.contains("rotate_admin_outcome"));
    // Neither the store nor the copy beside it holds anything that lets in.
    for file in ["leasehold.db", "custody/orders.json"] {
        let bytes = std::fs::read(stage.config.dir().join(file)).expect("it is there");
        assert!(!bytes.windows(first.len()).any(|w| w == first.as_bytes()), "{file}");
    }
}

async fn killed_at_each_step_of_a_rotation_the_broker_still_reaches_its_target(postgres: Installation) {
    for step in STEPS.iter().filter(|step| step.starts_with("rotate.")) {
        let stage = stage(postgres.clone()).await;
        let mut broker = stage.broker_that_dies_at(step).await;
        rotate(&stage.client(&broker, OPERATOR)).await.map(|_| ()).expect_err("an answer that never comes");
        assert_eq!(broker.wait_for_exit().await.expect("it dies").signal(), Some(9), "{step}");
        drop(broker);

        let broker = stage.broker().await;
        works(&stage, &broker).await;
        // And the next rotation is like any other.
        assert_eq!(rotate(&stage.client(&broker, OPERATOR)).await.expect("a rotation"), 2, "{step}");
        works(&stage, &broker).await;
        stage.pg.assert_refused(&stage.admin.name, &stage.admin.password).await;
    }
}

/// Copies what is in the directory of the store's files, or puts it back.
fn copy_store(from: &Path, to: &Path) {
    for name in ["leasehold.db", "leasehold.db-wal", "leasehold.db-shm"] {
        let _ = std::fs::remove_file(to.join(name));
        if from.join(name).exists() {
            std::fs::copy(from.join(name), to.join(name)).expect("copy the store");
        }
    }
}

async fn a_store_that_was_put_back_reaches_its_targets_again(postgres: Installation) {
    let stage = stage(postgres).await;
    let mut broker = stage.broker().await;
    rotate(&stage.client(&broker, OPERATOR)).await.expect("a rotation");
    broker.terminate().await.expect("it ends");
    let backup = tempfile::tempdir().expect("a directory");
    copy_store(stage.config.dir(), backup.path());

    broker.restart().await.expect("start it again");
    for generation in [2, 3] {
        assert_eq!(rotate(&stage.client(&broker, OPERATOR)).await.expect("a rotation"), generation);
    }
    broker.kill().await.expect("kill it");
    copy_store(backup.path(), stage.config.dir());
    broker.restart().await.expect("start it on the older store");
    works(&stage, &broker).await;
    assert_eq!(rotate(&stage.client(&broker, OPERATOR)).await.expect("a rotation"), 4);
    let log = std::fs::read_to_string(stage.config.audit_path()).expect("the audit log");
    assert!(log.contains("admin_passwords_brought_back"), "it is put on record");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_another_key_everything_is_sealed_anew_and_the_old_key_is_needed_no_more() {
    let stage = stage(leasehold_testkit::distribution()).await;
    let mut broker = stage.broker().await;
    rotate(&stage.client(&broker, OPERATOR)).await.expect("a rotation");
    broker.terminate().await.expect("it ends");

    let dir = stage.config.dir();
    std::fs::rename(dir.join("seal.key"), dir.join("old.key")).expect("keep the old key");
    let both = format!("{KEY}\nold_keys = [{{ file = \"old.key\" }}]");
    let file = stage.config.write();
    std::fs::write(&file, stage.config.text().replace(KEY, &both)).expect("write the configuration");
    broker.restart().await.expect("start it with two keys");
    works(&stage, &broker).await;
    let done = stage.client(&broker, OPERATOR).rotate_seal().await.expect("seal everything anew");
    assert_eq!((done.resealed, done.unreadable), (1, 0));
    let again = stage.client(&broker, OPERATOR).rotate_seal().await.expect("nothing to do");
    assert_eq!((again.resealed, again.unreadable), (0, 0));
    broker.terminate().await.expect("it ends");

    std::fs::remove_file(dir.join("old.key")).expect("throw the old key away");
    stage.config.write();
    broker.restart().await.expect("start it with the new key alone");
    works(&stage, &broker).await;
}

/// Runs an ordinary program in `dir` and answers what it said.
fn run(dir: &Path, program: &str, arguments: &[&str]) -> String {
    let out = Command::new(program).args(arguments).current_dir(dir).output();
    let out = out.unwrap_or_else(|e| panic!("{program}: {e}; run `scripts/setup --tests`"));
    assert!(out.status.success(), "{program}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("text")
}

/// With the ordinary `age` program, by somebody who has neither store nor seal key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_password_is_recovered_with_the_ordinary_age_program() {
    let safe = tempfile::tempdir().expect("a directory");
    run(safe.path(), "age-keygen", &["-o", "identity.txt"]);
    let recipient = run(safe.path(), "age-keygen", &["-y", "identity.txt"]);
    let file = safe.path().join("recovery.age");
    let lines = format!("{KEY}\nrecovery_recipients = [{:?}]\nrecovery_file = {file:?}", recipient.trim());
    let stage = sealed(leasehold_testkit::distribution(), &lines).await;
    let broker = stage.broker().await;
    let operator = stage.client(&broker, OPERATOR);
    for generation in [1, 2] {
        let done = operator.rotate_admin(TARGET, &RotateAdminRequest::default()).await.expect("a rotation");
        assert_eq!((done.generation, done.recoverable), (generation, true));
    }
    // As docs/custody.md says it.
    let script = "awk '/^# target orders generation 2 /{p=1;next} p; p&&/END AGE/{exit}' recovery.age \
                  | age --decrypt -i identity.txt | sed -n 's/^password //p'";
    let password = run(safe.path(), "sh", &["-c", script]).trim().to_owned();
    stage.pg.try_login(&stage.admin.name, &password).await.map(drop).expect("it is the password in force");
    wait_until(SOON, "the broker to work with it", || async {
        mint(&stage.client(&broker, BILLING), "10m").await.is_ok()
    })
    .await;
}
