//! A pool under load, through many rotations, a broker that is restarted and one that cannot be reached: not one operation fails.
//! Beside it the naive way, so that one sees what was avoided.

#[path = "../../examples/pools/sqlx.rs"]
#[allow(dead_code)]
mod example;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use leasehold_client::wire::Credential;
use leasehold_client::{Credentials, Ending, Wanted};
use leasehold_testkit::{Proxy, wait_until};
use secrecy::ExposeSecret;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::running::stage;
use crate::stage::{BILLING, ROLE, SOON};

/// Replaced every eight seconds or so; the old one lives four seconds more: longer than two seconds of a connection's life, a
/// transaction and the change together.
const LIFE: &str = "ttl = \"12s\"\noverlap = \"4s\"";
const WORKERS: u64 = 16;
const ROTATIONS: u64 = 5;

/// What a load has seen.
#[derive(Default)]
struct Seen {
    done: AtomicU64,
    failed: AtomicU64,
    stop: AtomicBool,
}

/// Transactions of 5 to 120 ms by so many workers, until they are told to stop.
fn load(pool: &PgPool, seen: &Arc<Seen>) -> JoinSet<()> {
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let (pool, seen) = (pool.clone(), seen.clone());
        workers.spawn(async move {
            let mut round = worker;
            while !seen.stop.load(Ordering::Relaxed) {
                round += 1;
                let milliseconds = 5 + (round * 37 + worker * 11) % 116;
                match transaction(&pool, milliseconds).await {
                    Ok(()) => seen.done.fetch_add(1, Ordering::Relaxed),
                    Err(error) => {
                        if seen.failed.fetch_add(1, Ordering::Relaxed) < 5 {
                            println!("failed: {error}");
                        }
                        // A service that fails does not ask again at once.
                        sleep(Duration::from_millis(5)).await;
                        0
                    }
                };
            }
        });
    }
    workers
}

/// Reads, works a while, and writes: with the rights of the group, as a service does.
async fn transaction(pool: &PgPool, milliseconds: u64) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin().await?;
    let half = milliseconds as f64 / 2000.0;
    sqlx::query("SELECT pg_sleep($1)").bind(half).execute(&mut *transaction).await?;
    sqlx::query("CREATE TEMPORARY TABLE mine (n int) ON COMMIT DROP").execute(&mut *transaction).await?;
    sqlx::query("INSERT INTO mine VALUES (1)").execute(&mut *transaction).await?;
    sqlx::query("SELECT pg_sleep($1)").bind(half).execute(&mut *transaction).await?;
    transaction.commit().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_follows_its_credential_loses_no_operation() {
    let stage = stage(LIFE).await;
    let mut broker = stage.broker().await;
    let line = Proxy::start(broker.addresses().api.port()).await;
    let client = stage.client_at(format!("https://{}", line.address()), BILLING);
    let kept = Arc::new(Credentials::keep(client, Wanted::role(ROLE)));
    let pool = example::pool(&kept).await.expect("a pool");
    let following = {
        let (pool, kept) = (pool.clone(), kept.clone());
        tokio::spawn(async move { example::follow(&pool, &kept).await })
    };
    let seen = Arc::new(Seen::default());
    let mut workers = load(&pool, &seen);
    let generation = || kept.current().map_or(0, |held| held.generation);
    let until = async |wanted: u64| {
        wait_until(2 * SOON, "the next rotations", || async { generation() >= wanted }).await;
    };
    until(2).await;
    broker.restart().await.expect("start the broker again");
    line.point_to(broker.addresses().api.port());
    until(3).await;
    line.sever();
    sleep(Duration::from_secs(3)).await;
    line.mend();
    until(1 + ROTATIONS).await;
    // Those that hold connections of the last but one see its end.
    sleep(Duration::from_secs(5)).await;
    seen.stop.store(true, Ordering::Relaxed);
    while workers.join_next().await.is_some() {}
    following.abort();
    pool.close().await;
    let (done, failed) = (seen.done.load(Ordering::Relaxed), seen.failed.load(Ordering::Relaxed));
    println!("sqlx: {} rotations, {done} operations, {failed} failed", generation() - 1);
    assert!(done > 1000, "{done} operations are no load");
    assert_eq!(failed, 0);
    kept.end(Ending::Revoke).await;
    stage.quiet(&broker).await;
}

/// A new login, and the old one ended at once: what most people write first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_naive_way_loses_many() {
    let stage = stage(LIFE).await;
    let broker = stage.broker().await;
    let client = stage.client(&broker, BILLING);
    let kept = Credentials::keep(client.clone(), Wanted::role(ROLE));
    let options = |held: &leasehold_client::Held| {
        let Credential::Database(login) = &*held.credential else { panic!("no login of a database") };
        login.url.expose_secret().parse().expect("a URL")
    };
    let mut held = kept.ready().await.expect("a credential");
    let pool = PgPoolOptions::new().max_connections(16).connect_with(options(&held)).await.expect("a pool");
    let seen = Arc::new(Seen::default());
    let mut workers = load(&pool, &seen);
    let begun = Instant::now();
    for _ in 0..2 {
        let next = kept.changed(held.generation).await;
        pool.set_connect_options(options(&next));
        client.revoke(&held.lease.id).await.expect("a revocation");
        held = next;
    }
    sleep(Duration::from_secs(1)).await;
    seen.stop.store(true, Ordering::Relaxed);
    while workers.join_next().await.is_some() {}
    pool.close().await;
    let (done, failed) = (seen.done.load(Ordering::Relaxed), seen.failed.load(Ordering::Relaxed));
    println!("naive: 2 rotations in {:?}, {done} operations, {failed} failed", begun.elapsed());
    assert!(failed > 0, "then the other test shows nothing");
    kept.close(Ending::Revoke).await;
    stage.quiet(&broker).await;
}
