//! Mints whose outcome nobody knows: the answer is lost, the request arrives late, the CREATE stalls in the server. A lease
//! is called revoked only when nothing can create its account any more (law 3).

use std::time::Duration;

use leasehold_client::ClientError;
use leasehold_client::wire::Lease;
use leasehold_sdk::{Timestamp, clock};
use leasehold_testkit::{Broker, Installation, PgFixture, PgOptions, Proxy, Session, wait_until};

use crate::stage::{BILLING, Held, OPERATOR, Rights, SOON, Stage, end, mint, refusal};

leasehold_testkit::each_version! {
    a_create_whose_answer_is_lost_is_undone,
    a_create_that_never_arrived_is_waited_for,
    a_create_that_arrives_after_its_lease_ended_makes_nothing,
    a_create_that_stalls_in_the_server_while_its_lease_is_revoked,
    a_frozen_create_keeps_its_lease_from_being_called_revoked,
}

/// `mint_milliseconds_max`: long enough for a mint on a busy machine, short enough to be waited for.
const DEADLINE: Duration = Duration::from_millis(3000);

/// A broker that reaches its database through a proxy, warm: one credential was minted, and stays.
async fn behind_proxy(postgres: Installation, target: &str) -> (Stage, Proxy, Broker, Held) {
    let pg = PgFixture::shared(postgres).await;
    let proxy = Proxy::start(pg.server().port()).await;
    let stage = Stage::new(pg, Rights::CreateRole).await;
    let url = format!("postgres://{}@{}/{}", stage.admin.name, proxy.address(), stage.pg.database());
    let stage = stage.with_target_at(&url, target, "ttl = \"10m\"").limit("mint_milliseconds_max", millis(DEADLINE));
    let broker = stage.broker().await;
    let bystander = mint(&stage.client(&broker, BILLING), "10m").await.expect("the first mint");
    (stage, proxy, broker, bystander)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("a short time")
}

/// What the message that makes an account has in it.
fn create(stage: &Stage) -> String {
    format!("CREATE ROLE \"lh_{}_", stage.cluster)
}

/// Demands an answer 503 that says when to come again.
fn assert_target_away(answer: Result<Held, ClientError>) {
    let problem = refusal(answer);
    assert!(problem.status == 503 && problem.retry_after.is_some(), "{problem:?}");
}

/// The newest lease: that of the mint under test.
async fn newest(stage: &Stage, broker: &Broker) -> Lease {
    stage.leases(broker).await.into_iter().next().expect("a lease")
}

fn failed(lease: &Lease) -> bool {
    end(lease) == ("revoked", Some("failed"))
}

/// After this nothing can make its account any more.
fn deadline(lease: &Lease) -> Timestamp {
    lease.issued_at.parse::<Timestamp>().expect("a time").plus(DEADLINE)
}

/// What must hold after each of these: one account, the bystander's, and a broker that mints as before.
async fn nothing_is_left(stage: &Stage, broker: &Broker, bystander: &Held) {
    let leases = stage.quiet(broker).await;
    let live: Vec<&str> = leases.iter().filter(|l| !l.is_over()).map(|l| l.id.as_str()).collect();
    assert_eq!(live, [bystander.lease.id.as_str()]);
    mint(&stage.client(broker, BILLING), "10m").await.expect("it mints as before");
    stage.quiet(broker).await;
}

async fn a_create_whose_answer_is_lost_is_undone(postgres: Installation) {
    let (stage, proxy, broker, bystander) = behind_proxy(postgres, "").await;
    proxy.cut_reply_to(&create(&stage));
    assert_target_away(mint(&stage.client(&broker, BILLING), "10m").await);
    wait_until(SOON, "the lease to end", || async { failed(&newest(&stage, &broker).await) }).await;
    nothing_is_left(&stage, &broker, &bystander).await;
}

async fn a_create_that_never_arrived_is_waited_for(postgres: Installation) {
    let (stage, proxy, broker, bystander) = behind_proxy(postgres, "").await;
    proxy.cut_before(&create(&stage));
    assert_target_away(mint(&stage.client(&broker, BILLING), "10m").await);
    let lease = newest(&stage, &broker).await;
    wait_until(SOON, "the lease to end", || async { failed(&newest(&stage, &broker).await) }).await;
    assert!(clock::wall() >= deadline(&lease), "called revoked while a CREATE on its way could still make it");
    nothing_is_left(&stage, &broker, &bystander).await;
}

async fn a_create_that_arrives_after_its_lease_ended_makes_nothing(postgres: Installation) {
    let (stage, proxy, broker, bystander) = behind_proxy(postgres, "statement_timeout = \"1s\"\n").await;
    proxy.hold(&create(&stage));
    assert_target_away(mint(&stage.client(&broker, BILLING), "10m").await);
    proxy.wait_caught(1, SOON).await;
    wait_until(SOON, "the lease to end", || async { failed(&newest(&stage, &broker).await) }).await;
    proxy.mend();
    // The late CREATE is on its way now. What was sent after it is answered many times before we believe that it did nothing.
    for _ in 0..10 {
        nothing_extra(&stage, &bystander).await;
    }
    nothing_is_left(&stage, &broker, &bystander).await;
}

async fn nothing_extra(stage: &Stage, bystander: &Held) {
    let accounts = stage.accounts().await;
    assert!(accounts.iter().all(|name| *name == bystander.lease.account), "an orphan: {accounts:?}");
}

/// A broker on a server of its own, on which nobody can make a role until the blocker commits, and a mint that waits there.
struct Stalled {
    stage: Stage,
    broker: Broker,
    bystander: Held,
    blocker: Session,
    minting: tokio::task::JoinHandle<Result<Held, ClientError>>,
    /// The server process in which the CREATE waits.
    backend: u32,
}

const STALLED_BACKEND: &str =
    "SELECT pid::text FROM pg_catalog.pg_locks WHERE NOT granted AND relation = 'pg_catalog.pg_authid'::regclass";

async fn stalled(postgres: Installation) -> Stalled {
    let pg = PgFixture::own(PgOptions::on(postgres).without_fsync()).await;
    let patient = "lock_timeout = \"2m\"\nstatement_timeout = \"2m\"\n";
    let stage = Stage::new(pg, Rights::CreateRole).await;
    let url = stage.admin.url.clone();
    let stage = stage.with_target_at(&url, patient, "ttl = \"10m\"").limit("mint_milliseconds_max", millis(DEADLINE));
    let broker = stage.broker().await;
    let client = stage.client(&broker, BILLING);
    let bystander = mint(&client, "10m").await.expect("the first mint");
    let mut blocker = stage.pg.superuser().await;
    // CREATE ROLE passes its guard and then waits for this lock, uncommitted.
    blocker.execute("BEGIN; LOCK TABLE pg_catalog.pg_authid IN SHARE MODE").await.expect("lock the roles");
    let minting = tokio::spawn(async move { mint(&client, "10m").await });
    let mut watcher = stage.pg.superuser().await;
    let waiting = async {
        loop {
            if let Some(pid) = watcher.text(STALLED_BACKEND).await.expect("look for the stalled CREATE") {
                return pid.parse().expect("a pid");
            }
            assert!(!minting.is_finished(), "the mint ended without waiting");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let backend = tokio::time::timeout(SOON, waiting).await.expect("the CREATE stalls");
    Stalled { stage, broker, bystander, blocker, minting, backend }
}

async fn a_create_that_stalls_in_the_server_while_its_lease_is_revoked(postgres: Installation) {
    let Stalled { stage, broker, bystander, mut blocker, minting, .. } = stalled(postgres).await;
    let pending = newest(&stage, &broker).await;
    assert_eq!(pending.state, "pending");
    let operator = stage.client(&broker, OPERATOR);
    let answered = operator.revoke(&pending.id).await.expect("the order is taken");
    if answered.is_over() {
        assert!(clock::wall() >= deadline(&pending), "called revoked before its deadline: {answered:?}");
    }
    wait_until(SOON, "the lease to end", || async { newest(&stage, &broker).await.is_over() }).await;
    assert!(clock::wall() >= deadline(&pending), "called revoked while its CREATE could still commit");
    let waits = stage.pg.superuser().await.text(STALLED_BACKEND).await.expect("look for the stalled CREATE");
    assert_eq!(waits, None, "its CREATE still waits in the server");
    blocker.execute("COMMIT").await.expect("let the roles go");
    assert_target_away(minting.await.expect("the caller is answered"));
    nothing_is_left(&stage, &broker, &bystander).await;
}

async fn a_frozen_create_keeps_its_lease_from_being_called_revoked(postgres: Installation) {
    let Stalled { stage, broker, bystander, mut blocker, minting, backend } = stalled(postgres).await;
    // Halted by the system, the backend cannot even be ended; yet once it goes on it might commit.
    stage.pg.server().pause_process(backend).expect("freeze the backend");
    blocker.execute("COMMIT").await.expect("let the roles go");
    assert_target_away(minting.await.expect("the caller is answered"));
    wait_until(SOON, "two tries past the deadline", || async {
        let lease = newest(&stage, &broker).await;
        assert!(!lease.is_over(), "called revoked while its CREATE could still commit: {lease:?}");
        clock::wall() > deadline(&lease).plus(Duration::from_secs(1)) && lease.attempts.is_some_and(|n| n >= 2)
    })
    .await;
    stage.pg.server().resume_process(backend).expect("let the backend go on");
    wait_until(SOON, "the lease to end", || async { failed(&newest(&stage, &broker).await) }).await;
    nothing_is_left(&stage, &broker, &bystander).await;
}
