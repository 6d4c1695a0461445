//! Time only shortens, and no single clock ends many (law 9).
//!
//! Nobody may set this machine's clock for a test. What a broker compares its clock with is in its store: the latest time
//! that any broker has acted on. Moving that back is a clock that leapt ahead while the broker was down, moving it ahead a
//! clock that was set back. How a running broker takes steps is tested beside its clock, in `src/lease/clock.rs`.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use leasehold_sdk::{Timestamp, clock};
use leasehold_testkit::{Broker, BrokerOptions, PgFixture, Session, wait_until};
use sqlx::{Connection, SqliteConnection};
use tokio::time::Instant;

use crate::stage::{BILLING, Held, Rights, SOON, Stage, end, mint, refusal};

/// `sweep_hold_seconds` here.
const HOLD: Duration = Duration::from_secs(10);
/// How far the clock leaps.
const LEAP: Duration = Duration::from_secs(7200);

struct Fleet {
    stage: Stage,
    broker: Broker,
    /// Five leases with an open session each.
    held: Vec<(Held, Session)>,
}

async fn fleet(sweep_leases_min: u64) -> Fleet {
    let pg = PgFixture::shared(leasehold_testkit::distribution()).await;
    let stage = Stage::new(pg, Rights::CreateRole).await.with_target("ttl = \"10m\"");
    let stage = stage.limit("sweep_leases_min", sweep_leases_min).limit("sweep_hold_seconds", HOLD.as_secs());
    let mut broker = stage.broker().await;
    let client = stage.client(&broker, BILLING);
    let mut held = Vec::new();
    for _ in 0..5 {
        let one = mint(&client, "10m").await.expect("a mint");
        let session = stage.session(&one).await;
        held.push((one, session));
    }
    assert!(broker.terminate().await.expect("it ends").success());
    Fleet { stage, broker, held }
}

impl Fleet {
    /// Sets the latest time that a broker has acted on, and makes the first `due` leases due.
    async fn set(&self, high_water: Timestamp, due: usize) {
        let path = self.stage.config.dir().join("leasehold.db");
        let mut db = SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.expect("open the store");
        let mark = "UPDATE store SET high_water = ?1";
        sqlx::query(mark).bind(high_water.unix_ms()).execute(&mut db).await.expect("set the mark");
        let sql = "UPDATE leases SET expires_at = issued_at, due_at = issued_at, wake_at = issued_at WHERE id = ?1";
        for (held, _) in &self.held[..due] {
            sqlx::query(sql).bind(&held.lease.id).execute(&mut db).await.expect("make it due");
        }
        db.close().await.expect("close the store");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leap_that_would_end_most_leases_is_held_and_alarmed() {
    let mut fleet = fleet(3).await;
    fleet.set(clock::wall().minus(LEAP), 4).await;
    let started = Instant::now();
    fleet.broker.restart().await.expect("start it again");
    let Fleet { stage, broker, mut held } = fleet;
    assert!(broker.logs().contains("the sweep is held"), "it says so");
    // What somebody asks to end is no sweep.
    let asked = stage.client(&broker, BILLING).revoke(&held[3].0.lease.id).await.expect("a revocation");
    assert!(asked.is_over(), "{asked:?}");
    let early = started.elapsed();
    if held[0].1.is_alive().await {
        held.remove(0).1.wait_until_dead(SOON).await;
    }
    assert!(started.elapsed() >= HOLD, "the first lease died {:?} after the start ({early:?})", started.elapsed());
    for (one, session) in held.drain(..2) {
        session.wait_until_dead(SOON).await;
        assert_eq!(end(&stage.over(&broker, &one.lease.id).await), ("revoked", Some("expiry")));
    }
    let last = held.last_mut().expect("the one that was not due");
    assert!(last.1.is_alive().await);
    stage.quiet(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leap_that_ends_few_is_a_long_rest_and_no_reason_to_wait() {
    let mut fleet = fleet(3).await;
    fleet.set(clock::wall().minus(LEAP), 2).await;
    fleet.broker.restart().await.expect("start it again");
    let Fleet { stage, broker, mut held } = fleet;
    for (_, session) in held.drain(..2) {
        session.wait_until_dead(SOON).await;
    }
    assert!(!broker.logs().contains("the sweep is held"));
    for (_, session) in &mut held {
        assert!(session.is_alive().await);
    }
    stage.quiet(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_a_little_behind_is_worked_with_but_time_never_goes_back() {
    let mut fleet = fleet(20).await;
    let mark = clock::wall().plus(Duration::from_secs(5));
    fleet.set(mark, 0).await;
    fleet.broker.restart().await.expect("start it again");
    let held = mint(&fleet.stage.client(&fleet.broker, BILLING), "10m").await.expect("a mint");
    assert!(held.lease.issued_at.parse::<Timestamp>().expect("a time") >= mark, "{:?}", held.lease);
    fleet.stage.quiet(&fleet.broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_far_behind_neither_mints_nor_reaps_and_is_not_ready() {
    let mut fleet = fleet(20).await;
    // Far enough to be distrusted; not so far that by the broker's time the SVIDs here have expired.
    fleet.set(clock::wall().plus(Duration::from_secs(1200)), 2).await;
    let addresses = fleet.stage.config.dir().join("addresses.json");
    std::fs::remove_file(&addresses).expect("forget the last run's addresses");
    let options = BrokerOptions { timeout: Duration::from_secs(8), ..fleet.stage.options() };
    let starting = tokio::spawn(Broker::start(options));
    wait_until(SOON, "it to listen", || async { addresses.exists() }).await;
    let text = std::fs::read_to_string(&addresses).expect("where it listens");
    let api = serde_json::from_str::<serde_json::Value>(&text).expect("JSON")["api"].clone();
    let client = fleet.stage.client_at(format!("https://{}", api.as_str().expect("an address")), BILLING);
    let problem = refusal(mint(&client, "10m").await);
    assert!(problem.status == 503 && problem.detail.contains("clock"), "{problem:?}");
    let why = starting.await.expect("it is tried").map(drop).expect_err("it is not ready").to_string();
    assert!(why.contains("was not ready") && why.contains("nothing is minted or reaped"), "{why}");
    for (_, session) in &mut fleet.held {
        assert!(session.is_alive().await, "nothing is ended by a clock that is wrong");
    }

    // The operator says that this clock is right, and the last one was not.
    let Fleet { stage, held, .. } = fleet;
    let told = stage.config.dir().join("told.sh");
    let text = format!("#!/bin/sh\nexec '{}' \"$@\" --accept-clock\n", env!("CARGO_BIN_EXE_leasehold"));
    std::fs::write(&told, text).expect("write the wrapper");
    std::fs::set_permissions(&told, std::fs::Permissions::from_mode(0o755)).expect("make it a program");
    let options = BrokerOptions { binary: told, ..stage.options() };
    let broker = Broker::start(options).await.unwrap_or_else(|e| panic!("{e:#}"));
    for (_, session) in held.into_iter().take(2) {
        session.wait_until_dead(SOON).await;
    }
    stage.quiet(&broker).await;
}
