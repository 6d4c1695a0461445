//! Several brokers on one store: all mint, none leads, and what one leaves another takes over.

use std::time::Duration;

use leasehold_client::ClientError;
use leasehold_sdk::{Timestamp, clock};
use leasehold_testkit::{Broker, Installation, PgFixture, wait_until};
use tempfile::TempDir;

use crate::ground;
use crate::stage::{BILLING, OPERATOR, Rights, SOON, Stage, end, mint};

leasehold_testkit::each_version! {
    what_one_broker_minted_another_ends,
    the_work_of_a_killed_broker_is_taken_over,
    a_broker_paused_past_its_claim_harms_nothing,
    a_cap_holds_across_brokers,
}

/// Brokers on one PostgreSQL store.
struct Company {
    stage: Stage,
    brokers: Vec<Broker>,
    _dirs: Vec<TempDir>,
}

async fn company(postgres: Installation, count: usize, prepare: impl FnOnce(Stage) -> Stage) -> Company {
    let pg = PgFixture::shared(postgres).await;
    let stage = Stage::new(pg.same(), Rights::CreateRole).await.with_target("ttl = \"10m\"\nmax_ttl = \"1h\"");
    let stage = prepare(stage.with_store_on(&pg).await);
    let (mut brokers, mut dirs) = (vec![stage.broker().await], Vec::new());
    for _ in 1..count {
        let dir = tempfile::tempdir().expect("a directory");
        let config = stage.config.in_another_directory(dir.path());
        brokers.push(ground::start(ground::options(&config)).await);
        dirs.push(dir);
    }
    Company { stage, brokers, _dirs: dirs }
}

async fn what_one_broker_minted_another_ends(postgres: Installation) {
    let Company { stage, brokers, _dirs } = company(postgres, 2, |stage| stage).await;
    let [one, two] = &brokers[..] else { panic!("two brokers") };
    let held = mint(&stage.client(one, BILLING), "10m").await.expect("a mint");
    let session = stage.session(&held).await;
    stage.client(two, BILLING).renew(&held.lease.id, &Default::default()).await.expect("a renewal");
    stage.client(two, OPERATOR).revoke(&held.lease.id).await.expect("a revocation");
    session.wait_until_dead(SOON).await;
    assert_eq!(end(&stage.over(one, &held.lease.id).await), ("revoked", Some("operator")));

    let list = stage.client(one, OPERATOR).brokers().await.expect("the brokers").brokers;
    assert_eq!(list.len(), 2);
    assert!(list.iter().all(|b| b.alive && b.version == env!("CARGO_PKG_VERSION")), "{list:?}");
    assert_ne!(list[0].chain, list[1].chain, "each has an audit chain of its own");
    stage.quiet(one).await;
}

async fn the_work_of_a_killed_broker_is_taken_over(postgres: Installation) {
    // The first claims for ten minutes and is killed while it has the claim.
    let Company { stage, mut brokers, _dirs } =
        company(postgres, 2, |stage| stage.limit("revoke_milliseconds_max", 600_000)).await;
    let mut two = brokers.pop().expect("the second");
    two.kill().await.expect("kill it: the first is to have the claim");
    let mut one = brokers.pop().expect("the first");
    one.kill().await.expect("kill it, to start it again with a step to die at");
    let mut one = stage.broker_that_dies_at("revoke.claimed").await;
    let held = mint(&stage.client(&one, BILLING), "10m").await.expect("a mint");
    let session = stage.session(&held).await;
    let _ = stage.client(&one, BILLING).revoke(&held.lease.id).await;
    one.wait_for_exit().await.expect("it dies with the claim");

    two.restart().await.expect("start the second");
    session.wait_until_dead(SOON).await;
    assert_eq!(end(&stage.over(&two, &held.lease.id).await), ("revoked", Some("caller")));
    let list = stage.client(&two, OPERATOR).brokers().await.expect("the brokers").brokers;
    assert_eq!(list.iter().filter(|b| b.alive).count(), 1, "{list:?}");
    stage.quiet(&two).await;
}

async fn a_broker_paused_past_its_claim_harms_nothing(postgres: Installation) {
    let Company { stage, brokers, _dirs } = company(postgres, 2, |stage| stage).await;
    let [one, two] = &brokers[..] else { panic!("two brokers") };
    let bystander = mint(&stage.client(one, BILLING), "10m").await.expect("a mint");
    let mut alive = stage.session(&bystander).await;
    let mut doomed = Vec::new();
    for _ in 0..20 {
        doomed.push(mint(&stage.client(one, BILLING), "10m").await.expect("a mint"));
    }
    // Ordered on the first, which is stopped somewhere in the middle of it.
    let client = stage.client(one, OPERATOR);
    for held in &doomed {
        let (client, id) = (client.clone(), held.lease.id.clone());
        tokio::spawn(async move { client.revoke(&id).await });
    }
    wait_until(SOON, "the first to be at it", || async {
        let listed = stage.client(two, OPERATOR).lease(&doomed[0].lease.id).await;
        listed.is_ok_and(|lease| lease.state != "active")
    })
    .await;
    one.signal("STOP").expect("stop it");
    for held in doomed.iter().skip(1) {
        let _ = stage.client(two, OPERATOR).revoke(&held.lease.id).await;
    }
    for held in &doomed {
        stage.over(two, &held.lease.id).await;
        stage.assert_refused(held).await;
    }
    one.signal("CONT").expect("let it go on");
    // It finds its place and its work gone, says so, and works on.
    wait_until(SOON, "the first to be ready again", || async { one.ops("/readyz").await.is_ok_and(|(s, _)| s == 200) })
        .await;
    let late = mint(&stage.client(one, BILLING), "10m").await.expect("a mint on the first");
    stage.session(&late).await;
    assert!(alive.is_alive().await, "the bystander's session");
    let leases = stage.quiet(two).await;
    let living: Vec<_> = leases.iter().filter(|l| l.state == "active").map(|l| l.id.as_str()).collect();
    assert_eq!(living.len(), 2, "{living:?}");
}

async fn a_cap_holds_across_brokers(postgres: Installation) {
    let cap = |stage: Stage| stage.limit("live_leases_per_identity_and_role", 7);
    let Company { stage, brokers, _dirs } = company(postgres, 3, cap).await;
    let asks = (0..30).map(|i| {
        let client = stage.client(&brokers[i % 3], BILLING);
        async move { mint(&client, "10m").await }
    });
    let answers = futures_util::future::join_all(asks).await;
    let good = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(good, 7);
    for refused in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        let limit = matches!(refused, ClientError::Problem(problem) if problem.status == 429);
        assert!(limit, "{refused}");
    }
    stage.quiet(&brokers[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_has_one_broker() {
    let pg = PgFixture::shared(leasehold_testkit::distribution()).await;
    let stage = Stage::new(pg.same(), Rights::CreateRole).await.with_target("ttl = \"10m\"").with_store_on(&pg).await;
    let _first = stage.broker().await;
    let (status, said) = Broker::start_refused(stage.options()).await.expect("it is refused");
    assert!(!status.success() && said.contains("another broker uses data_dir"), "{said}");
}

/// A copied directory: the process that was started later has the id, and the first says so and hands nothing out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_with_one_id_the_later_works() {
    let Company { stage, brokers, _dirs } = company(leasehold_testkit::distribution(), 1, |stage| stage).await;
    let dir = tempfile::tempdir().expect("a directory");
    let config = stage.config.in_another_directory(dir.path());
    std::fs::copy(stage.config.dir().join("broker.id"), dir.path().join("broker.id")).expect("copy the id");
    let later = ground::start(ground::options(&config)).await;
    let first = &brokers[0];
    wait_until(Duration::from_secs(30), "the first to notice", || async {
        first.ops("/readyz").await.is_ok_and(|(status, body)| status == 503 && body.contains("another process"))
    })
    .await;
    mint(&stage.client(first, BILLING), "10m").await.map(drop).expect_err("it hands nothing out");
    mint(&stage.client(&later, BILLING), "10m").await.map(drop).expect("the later one does");
}

/// Another broker was upgraded by two versions: what this one would write may be wrong by now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_whose_store_became_too_new_says_so_and_hands_nothing_out() {
    let pg = PgFixture::shared(leasehold_testkit::distribution()).await;
    let mut stage = Stage::new(pg.same(), Rights::CreateRole).await.with_target("ttl = \"10m\"");
    let store = PgFixture::on(pg.server().clone()).await;
    let admin = store.superuser_admin().await;
    stage.config = stage.config.postgres_store(&admin.url, &admin.password);
    let broker = stage.broker().await;
    let ready = async |status: u16, says: &'static str| {
        wait_until(SOON, says, || async {
            broker.ops("/readyz").await.is_ok_and(|(s, body)| s == status && body.contains(says))
        })
        .await;
    };
    ready(200, "ready").await;
    let set = async |version: i64| {
        let set = format!("UPDATE store SET schema_version = {version}");
        store.superuser().await.execute(&set).await.expect("change the version");
    };
    set(3).await;
    ready(503, "schema is of version 3").await;
    mint(&stage.client(&broker, BILLING), "10m").await.map(drop).expect_err("it hands nothing out");
    set(2).await;
    ready(200, "ready").await;
    mint(&stage.client(&broker, BILLING), "10m").await.map(drop).expect("one version ahead is fine");
}

/// What one broker holds, the others hold too, and what an operator releases on one is released on all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_is_everybodys() {
    let pg = PgFixture::shared(leasehold_testkit::distribution()).await;
    let mut stage = Stage::new(pg.same(), Rights::CreateRole).await.with_target("ttl = \"10m\"");
    let store = PgFixture::on(pg.server().clone()).await;
    let admin = store.superuser_admin().await;
    stage.config = stage.config.postgres_store(&admin.url, &admin.password);
    let one = stage.broker().await;
    let dir = tempfile::tempdir().expect("a directory");
    let two = ground::start(ground::options(&stage.config.in_another_directory(dir.path()))).await;
    let short = mint(&stage.client(&two, BILLING), "20s").await.expect("a mint");
    let mut session = stage.session(&short).await;
    // As a broker writes it that finds accounts which the store does not know.
    let hold = format!("INSERT INTO holds (target, newest) VALUES ('{}', NULL)", ground::TARGET);
    store.superuser().await.execute(&hold).await.expect("hold the target");
    wait_until(SOON, "both brokers to hear of it", || async {
        [&one, &two].iter().all(|broker| broker.logs().contains("another broker found accounts"))
    })
    .await;
    let expires: Timestamp = short.lease.expires_at.parse().expect("a time");
    assert!(clock::wall() < expires, "too slow a machine for this test");
    let later = expires.plus(Duration::from_secs(3));
    wait_until(SOON, "its end to be three seconds ago", || async { clock::wall() > later }).await;
    assert!(session.is_alive().await, "nothing is ended by itself while the target is held");
    store.superuser().await.execute("DELETE FROM holds").await.expect("release it");
    session.wait_until_dead(SOON).await;
    stage.over(&one, &short.lease.id).await;
}
