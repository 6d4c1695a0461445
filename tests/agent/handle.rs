//! `Credentials`, as a service embeds it.

use std::sync::Arc;
use std::time::Duration;

use leasehold_client::wire::{Credential, DatabaseCredential, Lease};
use leasehold_client::{Credentials, Ending, Held, Wanted};
use leasehold_testkit::{PgFixture, Session, distribution, wait_until};
use secrecy::ExposeSecret;

use crate::stage::{BILLING, OPERATOR, ROLE, Rights, SOON, Stage, end};

/// Renewed up to 6 s, and replaced by another 2 s or less before that.
const LIFE: &str = "ttl = \"3s\"\nmax_ttl = \"6s\"\noverlap = \"1s\"";

async fn stage(life: &str) -> Stage {
    Stage::new(PgFixture::shared(distribution()).await, Rights::CreateRole).await.with_target(life)
}

fn login(held: &Held) -> &DatabaseCredential {
    let Credential::Database(login) = &*held.credential else { panic!("no login of a database") };
    login
}

fn lease(held: &Held) -> &Lease {
    held.lease.as_ref().expect("a lease")
}

async fn session(stage: &Stage, held: &Held) -> Session {
    let login = login(held);
    stage.pg.session(&login.username, login.password.expose_secret()).await
}

async fn next(kept: &Credentials, after: u64) -> Arc<Held> {
    tokio::time::timeout(SOON, kept.changed(after)).await.expect("another generation")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_renewed_then_replaced_and_the_old_one_works_until_its_end() {
    let stage = stage(LIFE).await;
    let broker = stage.broker().await;
    let kept = Credentials::keep(stage.client(&broker, BILLING), Wanted::role(ROLE));
    let first = kept.ready().await.expect("a credential");
    assert_eq!((first.generation, kept.health().last_error), (1, None));
    let mut changes = kept.subscribe();
    changes.borrow_and_update();
    changes.changed().await.expect("a renewal");
    let renewed = changes.borrow_and_update().clone().expect("it is held");
    assert_eq!((renewed.generation, &lease(&renewed).id), (1, &lease(&first).id), "a renewal is no new generation");
    assert!(lease(&renewed).expires_at > lease(&first).expires_at);

    let second = next(&kept, 1).await;
    assert_ne!(lease(&second).id, lease(&first).id);
    session(&stage, &second).await;
    session(&stage, &first).await;
    let over = stage.over(&broker, &lease(&first).id).await;
    assert_eq!(end(&over), ("revoked", Some("expiry")), "nobody ended it early");
    let third = next(&kept, 2).await;

    // All have changed to it: the one before needs not wait for its end.
    kept.retire(3).await;
    let over = stage.over(&broker, &lease(&second).id).await;
    assert_eq!(end(&over), ("revoked", Some("caller")));
    assert!(session(&stage, &third).await.is_alive().await);
    kept.close(Ending::Revoke).await;
    assert_eq!(end(&stage.over(&broker, &lease(&third).id).await), ("revoked", Some("caller")));
    stage.quiet(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_an_operator_ends_is_replaced_within_seconds() {
    let stage = stage("ttl = \"10m\"").await;
    let broker = stage.broker().await;
    let kept = Credentials::keep(stage.client(&broker, BILLING), Wanted::role(ROLE));
    let first = kept.ready().await.expect("a credential");
    stage.client(&broker, OPERATOR).revoke(&lease(&first).id).await.expect("a revocation");
    let second = tokio::time::timeout(Duration::from_secs(20), kept.changed(1)).await.expect("long before its end");
    assert!(session(&stage, &second).await.is_alive().await);
    wait_until(SOON, "all to be well again", || async { kept.health() == leasehold_client::Health::default() }).await;
    kept.close(Ending::Revoke).await;
    stage.quiet(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_broker_is_away_the_old_one_serves_and_the_alarm_is_given() {
    let stage = stage(LIFE).await;
    let mut broker = stage.broker().await;
    let kept = Credentials::keep(stage.client(&broker, BILLING), Wanted::role(ROLE));
    let first = kept.ready().await.expect("a credential");
    broker.kill().await.expect("kill the broker");
    wait_until(SOON, "the alarm", || async { kept.health().alarm }).await;
    let health = kept.health();
    assert!(health.last_error.as_deref().is_some_and(|why| why.contains("cannot reach the broker")), "{health:?}");
    assert_eq!(lease(&kept.current().expect("still there")).id, lease(&first).id);
    drop(kept);
    broker.restart().await.expect("start it again");
    stage.over(&broker, &lease(&first).id).await;
    stage.quiet(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_that_is_refused_is_told() {
    let stage = stage(LIFE).await;
    let broker = stage.broker().await;
    let kept = Credentials::keep(stage.client(&broker, BILLING), Wanted::role("unheard-of"));
    let error = kept.ready().await.expect_err("there is no such role");
    let text = error.to_string();
    assert!(text.contains("no credential of the role unheard-of yet") && text.contains("403"), "{text}");
    kept.close(Ending::Revoke).await;
    stage.quiet(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_needs_more_of_a_life_gets_another_before_it_is_due_and_all_who_ask_get_the_same() {
    let stage = stage("ttl = \"10m\"").await;
    let mut broker = stage.broker().await;
    let kept = Credentials::keep(stage.client(&broker, BILLING), Wanted::role(ROLE));
    let first = kept.ready().await.expect("a credential");
    assert_eq!(first.time_in_all().as_secs(), 600);
    let all = async { tokio::join!(kept.hasten(&first), kept.hasten(&first), kept.hasten(&first)) };
    tokio::time::timeout(SOON, all).await.expect("another at once");
    let second = kept.current().expect("it is held");
    kept.hasten(&first).await;
    assert_eq!(
        (second.generation, kept.current().expect("it is held").generation),
        (2, 2),
        "one for all of them, and none for what is over"
    );
    assert!(session(&stage, &first).await.is_alive().await && session(&stage, &second).await.is_alive().await);

    // Nobody waits for a broker that is away longer than for one try.
    broker.kill().await.expect("kill the broker");
    for _ in 0..2 {
        tokio::time::timeout(SOON, kept.hasten(&second)).await.expect("it cannot be done");
    }
    assert_eq!(kept.current().expect("still there").generation, 2);
    // It comes back on another port.
    drop(kept);
    broker.restart().await.expect("start it again");
    stage.quiet(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_be_renewed_is_renewed_when_more_of_a_life_is_needed() {
    let stage = stage("ttl = \"10m\"\nmax_ttl = \"30m\"").await;
    let broker = stage.broker().await;
    let kept = Credentials::keep(stage.client(&broker, BILLING), Wanted::role(ROLE));
    let first = kept.ready().await.expect("a credential");
    tokio::time::timeout(SOON, kept.hasten(&first)).await.expect("more of a life at once");
    let renewed = kept.current().expect("it is held");
    assert_eq!((renewed.generation, &lease(&renewed).id), (1, &lease(&first).id));
    assert!(lease(&renewed).expires_at > lease(&first).expires_at);
    kept.close(Ending::Revoke).await;
    stage.quiet(&broker).await;
}
