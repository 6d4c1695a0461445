//! Storms: a flood by one service, a service that dies and starts for ever, very many callers at once, callers that never
//! read. Queues are bounded, identities are treated alike, and memory stays flat.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use leasehold_client::wire::LeaseQuery;
use leasehold_testkit::{Broker, PgFixture, resident_kib, sixteen_or_newer, wait_until};

use crate::ground::{client_with, for_ttl, mint_of};
use crate::stage::{BILLING, Line, OPERATOR, ROLE, Rights, SOON, Stage, mint, request};

/// Another service, with the same rights.
const SHIPPING: &str = "/shipping";

/// What a burst of requests may leave behind in a debug build: the allocator keeps what it once had.
const GROWTH_KIB_MAX: u64 = 48 * 1024;

/// `target`: further lines of the target.
async fn stage(target: &str) -> Stage {
    let pg = PgFixture::shared(sixteen_or_newer()).await;
    let stage = Stage::new(pg, Rights::CreateRole).await;
    let url = stage.admin.url.clone();
    let mut stage = stage.with_target_at(&url, target, "ttl = \"10m\"");
    stage.config = stage.config.grant("shipping", &["spiffe://dev.local/shipping"], &[ROLE], &["mint"]);
    stage
}

fn resident(broker: &Broker) -> u64 {
    resident_kib(broker.pid().expect("it runs")).expect("its memory")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_by_one_service_delays_another_by_one_turn() {
    const FLOOD: usize = 240;
    // One lane: its batches are of 64.
    let stage = stage("connections = 1").await;
    let broker = stage.broker().await;
    let client = stage.client(&broker, BILLING);
    mint(&client, "10m").await.expect("the connection is there");
    // A lock on the catalogue of roles keeps every CREATE ROLE waiting.
    let mut superuser = stage.pg.superuser().await;
    superuser.execute("BEGIN; LOCK TABLE pg_catalog.pg_authid IN SHARE ROW EXCLUSIVE MODE").await.expect("a lock");
    let done = Arc::new(AtomicUsize::new(0));
    let flood: Vec<_> = (0..FLOOD)
        .map(|_| {
            let (client, done) = (client.clone(), done.clone());
            tokio::spawn(async move {
                let held = mint(&client, "10m").await;
                done.fetch_add(1, Ordering::SeqCst);
                held.expect("a mint of the flood")
            })
        })
        .collect();
    let pending = LeaseQuery { state: Some("pending".to_owned()), ..LeaseQuery::default() };
    let operator = stage.client(&broker, OPERATOR);
    let waiting = async |count: usize| operator.all_leases(&pending).await.is_ok_and(|all| all.len() >= count);
    wait_until(SOON, "the flood to wait", || waiting(FLOOD)).await;
    let other = {
        let (client, done) = (stage.client(&broker, SHIPPING), done.clone());
        tokio::spawn(async move {
            mint(&client, "10m").await.expect("a mint of the other service");
            done.load(Ordering::SeqCst)
        })
    };
    wait_until(SOON, "the other one to wait, too", || waiting(FLOOD + 1)).await;
    superuser.execute("ROLLBACK").await.expect("the lock is gone");
    let before = other.await.expect("the other service");
    // The batch that was under way, and the one in which its turn came; who hears first of the same batch is chance.
    assert!(before <= 150, "{before} of the flood's {FLOOD} were served before it");
    for one in flood {
        one.await.expect("a caller of the flood");
    }
    stage.quiet(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_dies_and_starts_for_ever_is_bounded_and_leaves_nothing() {
    const LIVES: usize = 150;
    let stage = stage("").await;
    let stage = stage.limit("live_leases_per_identity_and_role", 30);
    let broker = stage.broker().await;
    let shipping = stage.client(&broker, SHIPPING);
    let kept = mint(&shipping, "10m").await.expect("a mint of the other service");
    let looping = stage.identity(BILLING);
    let ask = request("POST", &format!("/v1/credentials/{ROLE}"), None);
    for life in 0..LIVES {
        // It asks and is gone, before or after its answer.
        let mut line = Line::open_resetting(broker.addresses().api, &looping).await;
        line.send(&ask).await.expect("send");
        if life % 3 == 0 {
            line.answer().await.expect("an answer");
        }
        drop(line);
    }
    mint(&shipping, "10m").await.expect("the other service is served as ever");
    // What was not read is ended as undelivered; what was read is capped, and ends by its expiry.
    let leases = stage.quiet(&broker).await;
    let live = leases.iter().filter(|lease| !lease.is_over() && lease.identity.ends_with(BILLING)).count();
    assert!(live <= 30, "{live}");
    assert!(leases.iter().any(|lease| lease.ended_by.as_deref() == Some("failed")), "what was not read ended at once");
    let problem = loop {
        // Once all that it may hold is held, it is told so.
        match mint_of(&stage.client(&broker, BILLING), ROLE, &for_ttl("10m")).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    let problem = problem.problem().expect("a problem document").clone();
    assert_eq!((problem.status, problem.limit.as_deref()), (429, Some("live_leases_per_identity_and_role")));
    stage.session(&kept).await;
    stage.quiet(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn very_many_callers_at_once_are_served_or_told_and_another_one_gets_in() {
    const CALLERS: usize = 1500;
    const SHARE: u64 = 1000;
    let stage = stage("").await;
    let stage = stage.limit("connections_at_once_max", 1200).limit("connections_at_once_per_identity_max", SHARE);
    let broker = stage.broker().await;
    let (svid, api) = (stage.identity(BILLING), broker.addresses().api);
    let before = resident(&broker);
    let ask = request("POST", &format!("/v1/credentials/{ROLE}"), None);
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (svid, ask) = (svid.clone(), ask.clone());
            tokio::spawn(async move {
                // Closed at once where there is no room: in the handshake, or before an answer.
                let Ok(mut line) = Line::open(api, &svid).await else { return None };
                line.send(&ask).await.ok()?;
                let answer = line.answer().await.ok().flatten()?;
                Some((answer.status, answer.header("retry-after").is_some(), line))
            })
        })
        .collect();
    // Amid all of it another service is served.
    let other = stage.client(&broker, SHIPPING);
    wait_until(SOON, "the other service to be served", || async { mint(&other, "10m").await.is_ok() }).await;
    let (mut served, mut told, mut lines) = (0, 0, Vec::new());
    for caller in callers {
        match caller.await.expect("a caller") {
            Some((201, _, line)) => {
                served += 1;
                lines.push(line);
            }
            Some((429 | 503, true, _)) => told += 1,
            Some((status, said_when, _)) => panic!("{status}, says when to come again: {said_when}"),
            None => {}
        }
    }
    println!("{served} served, {told} told to come again, {} closed", CALLERS - served - told);
    assert!(served > 0 && served <= SHARE as usize, "{served}");
    let grown = resident(&broker).saturating_sub(before);
    assert!(grown < GROWTH_KIB_MAX, "{grown} KiB with {} connections open", lines.len());
    drop(lines);
    let leases = stage.quiet(&broker).await;
    assert_eq!(leases.iter().filter(|l| l.state == "active" && l.identity.ends_with(BILLING)).count(), served);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_never_read_take_no_memory_and_hold_up_nobody() {
    const RUDE: usize = 40;
    let stage = stage("").await;
    let stage = stage.limit("unread_seconds_max", 3);
    let broker = stage.broker().await;
    let client = stage.client(&broker, BILLING);
    for _ in 0..200 {
        mint(&client, "10m").await.expect("something to list");
    }
    let (before, operator) = (resident(&broker), stage.identity(OPERATOR));
    // Each answer has all leases, and each of these asks for thousands of them without reading one.
    let ask = request("GET", "/v1/leases?limit=1000", None).repeat(100);
    let mut rude = Vec::new();
    for _ in 0..RUDE {
        let mut line = Line::open(broker.addresses().api, &operator).await.expect("a connection");
        let ask = ask.clone();
        rude.push(tokio::spawn(async move {
            // It takes what fits; then it waits for us to read, and after a while it has waited enough.
            while line.send(&ask).await.is_ok() {}
        }));
    }
    let held = || async { broker.metric("leasehold_connections").await.is_ok_and(|n| n >= RUDE as f64) };
    wait_until(SOON, "all of them to be there", held).await;
    for _ in 0..20 {
        mint(&client, "10m").await.expect("the polite one is served");
    }
    let grown = resident(&broker).saturating_sub(before);
    assert!(grown < GROWTH_KIB_MAX, "{grown} KiB for {RUDE} that never read");
    for one in rude {
        one.await.expect("it is cut off");
    }
    let polite = client_with(broker.url(), stage.svid(OPERATOR), None);
    assert!(polite.all_leases(&LeaseQuery::default()).await.expect("a list").len() >= 220);
    stage.quiet(&broker).await;
}
