//! Several brokers on one database.

use std::collections::BTreeSet;
use std::sync::Arc;

use leasehold_sdk::{LeaseId, Timestamp};

use super::super::super::conformance::{active, at, at_once, identity, new_lease, pending};
use super::super::super::{
    Block, Blocks, Brokers, Claims, Facts, Inserted, Leases, NewLease, Outbox, Outcome, Presence, SCHEMA_VERSION,
    Scope, Settled, Turn,
};
use super::*;
use crate::domain::lease::{EndedBy, State};

each_version! {
    brokers_that_start_at_once_make_one_store,
    several_brokers_never_claim_the_same,
    a_cap_is_never_passed_by_several_brokers,
    a_claim_that_was_taken_over_is_no_longer_the_first_brokers,
    the_work_of_a_dead_broker_is_anybodys,
    a_foreign_store_is_refused,
    blocks_are_kept,
}

async fn brokers_that_start_at_once_make_one_store(postgres: Installation) {
    let ground = Arc::new(Ground::start(postgres).await);
    ground.make("fresh").await;
    let opened = at_once(8, |i| {
        let ground = Arc::clone(&ground);
        async move { ground.try_open("fresh", &format!("b{i}")).await.unwrap().tag().clone() }
    })
    .await;
    let tags: BTreeSet<String> = opened.iter().map(|tag| tag.as_str().to_owned()).collect();
    assert_eq!(tags.len(), 1, "{tags:?}");
}

async fn several_brokers_never_claim_the_same(postgres: Installation) {
    let ground = Ground::start(postgres).await;
    let brokers = [ground.open("s", "b1").await, ground.open("s", "b2").await, ground.open("s", "b3").await];
    let brokers = brokers.map(Arc::new);
    for _ in 0..60 {
        active(&*brokers[0], "r", "t", "a").await;
    }
    let claimed = at_once(18, |i| {
        let store = Arc::clone(&brokers[i % 3]);
        async move { store.claim_due("t", Turn::First, Scope::Due, at(10_000), at(20_000), 5).await.unwrap() }
    })
    .await;
    let ids: Vec<LeaseId> = claimed.into_iter().flatten().map(|r| r.lease.id).collect();
    assert_eq!((ids.len(), ids.iter().collect::<BTreeSet<_>>().len()), (60, 60));
    // Each line is one broker's to put on record.
    let mut lines = 0;
    for broker in &brokers {
        lines += broker.outbox(1000).await.unwrap().len();
    }
    assert_eq!(lines, 60);
}

async fn a_cap_is_never_passed_by_several_brokers(postgres: Installation) {
    let ground = Ground::start(postgres).await;
    let brokers = [Arc::new(ground.open("s", "b1").await), Arc::new(ground.open("s", "b2").await)];
    for (cap, role) in [(5, "small"), (300, "large")] {
        let all = at_once(cap as usize + 40, |i| {
            let store = Arc::clone(&brokers[i % 2]);
            async move { store.insert(NewLease { live_max: cap, ..new_lease(role, "t", "a") }).await.unwrap() }
        })
        .await;
        assert_eq!(all.iter().filter(|i| **i == Inserted::Recorded).count(), cap as usize, "{role}");
    }
}

async fn a_claim_that_was_taken_over_is_no_longer_the_first_brokers(postgres: Installation) {
    let ground = Ground::start(postgres).await;
    let (first, second) = (ground.open("s", "b1").await, ground.open("s", "b2").await);
    let lease = active(&first, "r", "t", "a").await;
    let take = async |store: &Postgres, now| {
        store.claim_due("t", Turn::First, Scope::Due, at(now), at(now + 1000), 1).await.unwrap().len()
    };
    assert_eq!((take(&first, 10_000).await, take(&second, 10_500).await), (1, 0));
    // The claim lapses: the second broker takes it.
    assert_eq!(take(&second, 11_000).await, 1);
    let again = Outcome::Again { error: "late".to_owned(), at: at(90_000) };
    first.settle(vec![Settled { id: lease.id, outcome: again }], at(11_001)).await.unwrap();
    let row = second.get(lease.id).await.unwrap().unwrap();
    assert_eq!((row.lease.attempts, row.lease.last_error), (0, None), "what the first one says is too late");
    // What is dead is dead, whoever says so.
    first.settle(vec![Settled { id: lease.id, outcome: Outcome::Dead }], at(11_002)).await.unwrap();
    second.settle(vec![Settled { id: lease.id, outcome: Outcome::Dead }], at(11_003)).await.unwrap();
    assert_eq!(second.get(lease.id).await.unwrap().unwrap().lease.state, State::Revoked);
    let lines = first.outbox(10).await.unwrap().len() + second.outbox(10).await.unwrap().len();
    assert_eq!(lines, 2, "one line for each change");
}

fn presence(id: &str, instance: &str, started: i64) -> Presence {
    Presence {
        id: id.to_owned(),
        instance: instance.to_owned(),
        host: "h".to_owned(),
        version: "0".to_owned(),
        config_hash: "c".to_owned(),
        chain: "k".to_owned(),
        started_at: at(started),
    }
}

async fn the_work_of_a_dead_broker_is_anybodys(postgres: Installation) {
    let ground = Ground::start(postgres).await;
    let (dead, alive) = (ground.open("s", "b1").await, ground.open("s", "b2").await);
    assert!(dead.beat(&presence("b1", "i1", 1)).await.unwrap());
    let seen = dead.brokers().await.unwrap()[0].seen_at;
    assert!(seen.since(alive.clock().await.unwrap()) == std::time::Duration::ZERO, "by the store's own clock");
    // Another process under its id, started later, has the place from then on.
    assert!(alive.beat(&presence("b1", "i2", 2)).await.unwrap());
    assert!(!dead.beat(&presence("b1", "i1", 1)).await.unwrap());
    assert!(alive.beat(&presence("b2", "i3", 1)).await.unwrap());

    let lease = active(&dead, "r", "t", "a").await;
    let claim = async |store: &Postgres| {
        store.claim_due("t", Turn::First, Scope::Due, at(10_000), at(900_000), 10).await.unwrap().len()
    };
    assert_eq!(claim(&dead).await, 1);
    assert_eq!(dead.brokers().await.unwrap().iter().map(|b| b.claimed).collect::<Vec<_>>(), [1, 0]);
    assert_eq!(alive.take_over(Timestamp::from_unix_ms(1)).await.unwrap(), 0, "it is not dead yet");
    assert_eq!(claim(&alive).await, 0);
    let later = at(0);
    assert_eq!(alive.take_over(later).await.unwrap(), 2, "its claim and its line");
    assert_eq!(alive.outbox(10).await.unwrap().len(), 1);
    assert!(dead.outbox(10).await.unwrap().is_empty());
    assert_eq!(claim(&alive).await, 1);
    alive.settle(vec![Settled { id: lease.id, outcome: Outcome::Dead }], at(10_001)).await.unwrap();

    // One that stops says so itself.
    let other = pending(&alive, "r", "t", "a").await;
    alive.end(other.id, EndedBy::Operator, at(1)).await.unwrap();
    assert_eq!(claim(&alive).await, 1);
    alive.leave().await.unwrap();
    assert_eq!(claim(&dead).await, 1);
    assert_eq!(dead.take_over(at(0)).await.unwrap(), 3);
    alive.outbox_done(&[]).await.unwrap();
    assert_eq!(dead.forget_brokers(at(0)).await.unwrap(), 1);
    assert_eq!(dead.brokers().await.unwrap().len(), 1);
}

async fn a_foreign_store_is_refused(postgres: Installation) {
    let ground = Ground::start(postgres).await;
    ground.open("s", "b1").await;
    let other = Opener { cluster: "other".parse().unwrap(), broker: "b1".to_owned() };
    let refusal = Postgres::open(ground.link("s"), &other, &Limits::default(), Default::default())
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(refusal.contains("\"test\"") && refusal.contains("\"other\""), "{refusal}");
    let mut session = ground.session().await;
    for (version, opens) in [(SCHEMA_VERSION + 1, true), (SCHEMA_VERSION + 2, false), (SCHEMA_VERSION - 2, false)] {
        let version = format!("UPDATE s.store SET schema_version = {version}");
        session.execute(&version).await.unwrap();
        let step = "INSERT INTO s._sqlx_migrations (version, description, success, checksum, execution_time) \
                    VALUES (9999, 'later', true, '\\x00', 0) ON CONFLICT DO NOTHING";
        session.execute(step).await.unwrap();
        match ground.try_open("s", "b1").await {
            Ok(_) => assert!(opens, "{version}"),
            Err(e) => assert!(!opens && e.to_string().contains("by more than one"), "{version}: {e}"),
        }
    }
}

async fn blocks_are_kept(postgres: Installation) {
    let ground = Ground::start(postgres).await;
    let (one, two) = (ground.open("s", "b1").await, ground.open("s", "b2").await);
    let block = Block { identity: identity("a"), at: at(1), by_whom: "me".to_owned(), reason: Some("x".to_owned()) };
    assert!(one.block(&block).await.unwrap());
    assert!(!two.block(&Block { at: at(2), ..block.clone() }).await.unwrap());
    assert_eq!(two.blocks().await.unwrap(), std::slice::from_ref(&block));
    assert!(two.unblock(&block.identity).await.unwrap());
    assert!(!one.unblock(&block.identity).await.unwrap());
}
