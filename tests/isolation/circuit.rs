//! Targets that refuse, are silent, reset, hang or have no address, beside one that is well.

use std::time::Duration;

use leasehold_client::Client;
use leasehold_client::wire::MintRequest;
use leasehold_testkit::{Broker, BrokerOptions, Flow, PgFixture, PgOptions, Proxy, wait_until};

use crate::stage::{BILLING, Held, OPERATOR, ROLE, Rights, SOON, Stage, end, mint, mint_of, refusal};

/// A target's deadlines, so that silence is noticed soon.
const SHORT: &str = "connect_timeout = \"1s\"\nstatement_timeout = \"1s\"";
/// Time for an answer that waits for no target. Such a refusal takes a millisecond; the machine may be busy.
const AT_ONCE: Duration = Duration::from_secs(2);

fn distribution() -> leasehold_testkit::Installation {
    leasehold_testkit::distribution()
}

/// A role of this name in a target of this name, in this database, at this URL.
async fn with_target(mut stage: Stage, name: &str, pg: &PgFixture, url: impl Fn(&str) -> String) -> Stage {
    let (admin, group) = (pg.superuser_admin().await, pg.writer_group().await);
    let lines = format!("scram_iterations = 64\n{SHORT}\n");
    let role = format!("target = \"{name}\"\nmember_of = [\"{group}\"]\nttl = \"10m\"");
    let config = stage.config.postgres(name, &url(&admin.url), &admin.password, &lines).role(name, &role);
    stage.config = config.grant(&format!("{name} too"), &["spiffe://dev.local/billing"], &[name], &["mint"]);
    stage
}

async fn is_open(broker: &Broker, target: &str) -> bool {
    broker.metric(&format!("leasehold_target_circuit_open{{target=\"{target}\"}}")).await.expect("the metric") > 0.0
}

/// Asks for credentials until the circuit opens.
async fn until_asking_opens(client: &Client, broker: &Broker, target: &str) {
    wait_until(SOON, &format!("the circuit of {target} to open"), || async {
        let _ = mint_of(client, target, &MintRequest::default()).await;
        is_open(broker, target).await
    })
    .await;
}

async fn several(client: &Client, role: &str, ttl: &str, n: usize) -> Vec<Held> {
    let mut held = Vec::new();
    for _ in 0..n {
        let ask = MintRequest { ttl: Some(ttl.to_owned()), ..MintRequest::default() };
        held.push(mint_of(client, role, &ask).await.expect("a mint"));
    }
    held
}

/// Asking for a credential of the role is refused at once, with the time to wait.
async fn assert_refused_at_once(client: &Client, role: &str) {
    let asked = tokio::time::timeout(AT_ONCE, mint_of(client, role, &MintRequest::default())).await;
    let problem = refusal(asked.expect("an answer at once"));
    assert_eq!(problem.status, 503, "{problem:?}");
    assert!(problem.retry_after.is_some_and(|seconds| seconds > 0), "{problem:?}");
    assert!(problem.detail.contains("is not reached"), "{problem:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_dead_targets_harm_no_other_and_their_leases_go_when_they_are_back() {
    let shared = PgFixture::shared(distribution()).await;
    let own = PgFixture::own(PgOptions::on(distribution()).without_fsync()).await;
    let proxy = Proxy::start(shared.server().port()).await;
    let through = (format!(":{}/", shared.server().port()), format!(":{}/", proxy.port()));
    let stage = Stage::new(shared.same(), Rights::CreateRole).await.with_target("ttl = \"10m\"");
    let stage = with_target(stage, "refusing", &own, str::to_owned).await;
    let stage = with_target(stage, "silent", &shared, |url| url.replace(&through.0, &through.1)).await;
    // Once tried in vain, a lease waits for a minute at least: what goes before that was woken.
    let (soon, late) = ("revoke_retry_milliseconds_min = 100", "revoke_retry_milliseconds_min = 60000");
    let file = stage.config.write();
    std::fs::write(&file, stage.config.text().replace(soon, late)).expect("write the configuration");
    let options = BrokerOptions::new(env!("CARGO_BIN_EXE_leasehold"), file);
    let broker = Broker::start(options).await.expect("the broker starts");
    let client = stage.client(&broker, BILLING);
    let mut doomed = several(&client, "refusing", "4s", 4).await;
    doomed.extend(several(&client, "silent", "4s", 4).await);

    own.server().stop().await.expect("stop the database");
    proxy.to_client(Flow::Stall);
    for target in ["refusing", "silent"] {
        until_asking_opens(&client, &broker, target).await;
        assert_refused_at_once(&client, target).await;
        let (status, ready) = broker.ops("/readyz").await.expect("an answer");
        assert!(status == 200 && ready.contains("is not reached"), "{ready}");
    }
    // The healthy one mints and revokes on time meanwhile.
    for held in several(&client, ROLE, "2s", 3).await {
        assert_eq!(end(&stage.over(&broker, &held.lease.id).await), ("revoked", Some("expiry")));
    }
    // What is due in the dead ones says so, and waits.
    let operator = stage.client(&broker, OPERATOR);
    for held in &doomed {
        wait_until(SOON, "a try on record", || async {
            let lease = operator.lease(&held.lease.id).await.expect("the lease");
            lease.state == "revoking" && lease.attempts.is_some_and(|n| n > 0) && lease.last_error.is_some()
        })
        .await;
    }

    own.server().restart().await.expect("start the database");
    proxy.mend();
    proxy.cut();
    for held in &doomed {
        assert_eq!(end(&stage.over(&broker, &held.lease.id).await), ("revoked", Some("expiry")));
    }
    for target in ["refusing", "silent"] {
        wait_until(SOON, "its circuit to close", || async { !is_open(&broker, target).await }).await;
        mint_of(&client, target, &MintRequest::default()).await.expect("it mints again");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_hangs_resets_or_has_no_address_is_noticed_and_let_go_of() {
    let shared = PgFixture::shared(distribution()).await;
    let own = PgFixture::own(PgOptions::on(distribution()).without_fsync()).await;
    let proxy = Proxy::start(shared.server().port()).await;
    let (port, through) = (format!(":{}/", shared.server().port()), format!(":{}/", proxy.port()));
    let stage = Stage::new(shared.same(), Rights::CreateRole).await.with_target("ttl = \"10m\"");
    let stage = with_target(stage, "hanging", &own, str::to_owned).await;
    let stage = with_target(stage, "resetting", &shared, |url| url.replace(&port, &through)).await;
    let stage = with_target(stage, "nameless", &shared, |url| url.replace("127.0.0.1", "no-such-host.invalid")).await;
    let broker = stage.broker().await;
    let client = stage.client(&broker, BILLING);
    let mut due = several(&client, "hanging", "3s", 1).await;
    due.extend(several(&client, "resetting", "3s", 1).await);

    own.server().pause().expect("stop its processes");
    proxy.sever();
    for target in ["hanging", "resetting", "nameless"] {
        until_asking_opens(&client, &broker, target).await;
        assert_refused_at_once(&client, target).await;
    }
    let held = mint(&client, "2s").await.expect("the healthy one mints");
    stage.over(&broker, &held.lease.id).await;

    own.server().resume().expect("let them go on");
    proxy.mend();
    for held in &due {
        assert_eq!(end(&stage.over(&broker, &held.lease.id).await), ("revoked", Some("expiry")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_wait_for_a_silent_target_do_not_fill_the_room_of_all() {
    let shared = PgFixture::shared(distribution()).await;
    let proxy = Proxy::start(shared.server().port()).await;
    let mut stage = Stage::new(shared.same(), Rights::CreateRole).await.with_target("ttl = \"10m\"");
    let (admin, group) = (shared.superuser_admin().await, shared.writer_group().await);
    let url = admin.url.replace(&format!(":{}/", shared.server().port()), &format!(":{}/", proxy.port()));
    // One connection and no batches: with the one that may wait, there is room for two.
    let lines = "connections = 1\nscram_iterations = 4096\nconnect_timeout = \"20s\"\nstatement_timeout = \"20s\"";
    let role = format!("target = \"silent\"\nmember_of = [\"{group}\"]\nttl = \"10m\"");
    let config = stage.config.clone().postgres("silent", &url, &admin.password, lines).role("silent", &role);
    stage.config = config.grant("silent too", &["spiffe://dev.local/billing"], &["silent"], &["mint"]);
    let stage = stage.limit("mints_waiting_per_target_max", 1).limit("circuit_failures_max", 1000);
    let broker = stage.broker().await;
    let client = stage.client(&broker, BILLING);
    several(&client, "silent", "10m", 1).await;

    // The kept connection is not cut: a mint that found it broken would be answered, and not wait.
    proxy.to_client(Flow::Stall);
    let ask = MintRequest::default();
    let waiting = async { tokio::join!(mint_of(&client, "silent", &ask), mint_of(&client, "silent", &ask)) };
    let others = async {
        wait_until(SOON, "a request too many to be refused at once", || async {
            let asked = tokio::time::timeout(AT_ONCE, mint_of(&client, "silent", &ask)).await;
            asked.is_ok_and(|answer| refusal(answer).detail.contains("mints_waiting_per_target_max"))
        })
        .await;
        mint(&client, "10m").await.expect("the healthy one mints");
    };
    tokio::select! {
        () = others => {}
        answers = waiting => panic!("the silent target answered first: {:?}", answers.0.map(|held| held.lease)),
    }
    assert!(
        broker.metric("leasehold_limit_hits_total{limit=\"mints_waiting_per_target_max\"}").await.expect("hits") > 0.0
    );
}
