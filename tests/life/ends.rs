//! Expiry, renewal, revocation and rotation.

use std::time::Duration;

use leasehold_client::wire::{MintRequest, RenewRequest};
use leasehold_sdk::{Timestamp, clock};
use leasehold_testkit::{Installation, PgFixture, wait_until};

use crate::stage::{BILLING, ROLE, Rights, SOON, Stage, end, mint, mint_of, refusal};

leasehold_testkit::each_version! {
    expiry_ends_login_and_open_session,
    a_renewal_moves_the_end_here_and_in_the_database_but_never_past_the_last,
    a_caller_ends_its_own_lease_at_once,
}

/// How late after its expiry a lease may be dead on a busy machine.
const LATE_MAX: Duration = Duration::from_secs(10);

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

async fn expiry_ends_login_and_open_session(postgres: Installation) {
    let stage = Stage::new(PgFixture::shared(postgres).await, Rights::CreateRole).await.with_target("ttl = \"10m\"");
    let broker = stage.broker().await;
    let held = mint(&stage.client(&broker, BILLING), "3s").await.expect("a mint");
    let mut session = stage.session(&held).await;
    assert!(session.is_alive().await);
    assert!(clock::wall() < time(&held.lease.expires_at), "too slow a machine for this test");
    session.wait_until_dead(SOON).await;
    let died = clock::wall();
    let expired = time(&held.lease.expires_at);
    assert!(died >= expired && died.since(expired) < LATE_MAX, "expired at {expired}, died at {died}");
    stage.assert_refused(&held).await;
    assert_eq!(end(&stage.over(&broker, &held.lease.id).await), ("revoked", Some("expiry")));
    stage.quiet(&broker).await;
}

async fn a_renewal_moves_the_end_here_and_in_the_database_but_never_past_the_last(postgres: Installation) {
    let stage = Stage::new(PgFixture::shared(postgres).await, Rights::CreateRole).await;
    let stage = stage.with_target("ttl = \"6s\"\nmax_ttl = \"12s\"");
    let broker = stage.broker().await;
    let client = stage.client(&broker, BILLING);
    let held = mint(&client, "6s").await.expect("a mint");
    let first = &held.lease;
    let mut session = stage.session(&held).await;
    let until = format!(
        "SELECT floor(1000 * extract(epoch FROM rolvaliduntil))::int8::text FROM pg_catalog.pg_roles WHERE rolname = '{}'",
        first.account
    );
    let in_database = async || {
        let ms = stage.pg.superuser().await.text(&until).await.expect("look at the account").expect("VALID UNTIL");
        Timestamp::from_unix_ms(ms.parse().expect("a number"))
    };
    assert_eq!(in_database().await, time(&first.expires_at));
    assert!(first.renewable && first.worst_case_until.as_deref() == Some(&*first.expires_at), "{first:?}");

    let renewed = client.renew(&first.id, &RenewRequest { ttl: Some("8s".to_owned()) }).await.expect("a renewal");
    assert!(time(&renewed.expires_at) > time(&first.expires_at));
    assert_eq!(in_database().await, time(&renewed.expires_at));
    let shorter = client.renew(&first.id, &RenewRequest { ttl: Some("1s".to_owned()) }).await.expect("a renewal");
    assert_eq!(shorter.expires_at, renewed.expires_at, "never earlier than before");
    let longest = client.renew(&first.id, &RenewRequest { ttl: Some("12s".to_owned()) }).await.expect("a renewal");
    assert_eq!(longest.expires_at, first.max_expires_at, "never past the maximum");
    assert_eq!((in_database().await, &longest.max_expires_at), (time(&first.max_expires_at), &first.max_expires_at));

    wait_until(SOON, "its first end to pass", || async { clock::wall() > time(&first.expires_at) }).await;
    assert!(session.is_alive().await, "it was renewed");
    session.wait_until_dead(SOON).await;
    assert!(clock::wall() >= time(&first.max_expires_at));
    stage.over(&broker, &first.id).await;
    client.renew(&first.id, &RenewRequest::default()).await.expect_err("an ended lease is not renewed");
    stage.quiet(&broker).await;
}

async fn a_caller_ends_its_own_lease_at_once(postgres: Installation) {
    let stage = Stage::new(PgFixture::shared(postgres).await, Rights::CreateRole).await.with_target("ttl = \"10m\"");
    let broker = stage.broker().await;
    let client = stage.client(&broker, BILLING);
    let held = mint(&client, "10m").await.expect("a mint");
    let mut session = stage.session(&held).await;
    let ended = client.revoke(&held.lease.id).await.expect("a revocation");
    assert_eq!(end(&ended), ("revoked", Some("caller")), "the answer waits for the end");
    assert!(!session.is_alive().await, "dead means dead");
    stage.assert_refused(&held).await;
    let again = client.revoke(&held.lease.id).await.expect("idempotent");
    assert_eq!(end(&again), ("revoked", Some("caller")));
    stage.quiet(&broker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replacing_a_lease_at_its_time_passes_the_cap_once() {
    let pg = PgFixture::shared(leasehold_testkit::distribution()).await;
    let stage = Stage::new(pg, Rights::CreateRole).await.with_target("ttl = \"12s\"\noverlap = \"4s\"");
    let stage = stage.limit("live_leases_per_identity_and_role", 1);
    let broker = stage.broker().await;
    let client = stage.client(&broker, BILLING);
    let old = mint(&client, "12s").await.expect("the first");
    let next = MintRequest { replaces: Some(old.lease.id.clone()), ..MintRequest::default() };
    let limit = || Some("live_leases_per_identity_and_role".to_owned());

    let early = refusal(mint_of(&client, ROLE, &next).await);
    assert_eq!((early.status, early.limit), (429, limit()), "its time to rotate has not come");
    let rotate_at = time(&old.lease.rotate_at);
    wait_until(SOON, "the time to rotate", || async { clock::wall() >= rotate_at }).await;
    let second = refusal(mint(&client, "12s").await);
    assert_eq!((second.status, second.limit), (429, limit()), "without replacing the cap holds");
    let new = mint_of(&client, ROLE, &next).await.expect("replacing a held lease at its rotate_at is never refused");
    stage.session(&old).await;
    stage.session(&new).await;
    let twice = refusal(mint_of(&client, ROLE, &next).await);
    assert_eq!((twice.status, twice.limit), (429, limit()), "once, and only once");
    assert_eq!(end(&stage.over(&broker, &old.lease.id).await), ("revoked", Some("expiry")));
    stage.quiet(&broker).await;
}
