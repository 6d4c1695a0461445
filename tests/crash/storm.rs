//! SIGKILL at random moments while eight callers mint, and leases fall due all the time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use leasehold_client::Client;
use leasehold_client::wire::RevokeManyRequest;
use leasehold_sdk::random;
use leasehold_testkit::{Installation, PgFixture, wait_until};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::stage::{BILLING, OPERATOR, Rights, SOON, Stage, find, mint};

const CALLERS: usize = 8;
const KILLS: usize = 10;

/// The longest time that a broker lives before it is killed.
const LIFE_MAX: Duration = Duration::from_millis(1500);

leasehold_testkit::each_version! { killed_at_random_under_load }

async fn killed_at_random_under_load(postgres: Installation) {
    let pg = PgFixture::shared(postgres).await;
    let stage = Stage::new(pg, Rights::CreateRole).await.with_target("ttl = \"10m\"");
    let stage = stage.limit("mint_milliseconds_max", 4000);
    let given: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let mut broker = stage.broker().await;
    for _ in 0..KILLS {
        let mut callers = JoinSet::new();
        for number in 0..CALLERS {
            callers.spawn(keep_minting(stage.client(&broker, BILLING), number, given.clone()));
        }
        // The moment is meant to be any: this is the fault itself, not a wait for something.
        sleep(LIFE_MAX.mul_f64(random::fraction())).await;
        broker.kill().await.expect("kill the broker");
        callers.shutdown().await;
        broker.restart().await.expect("start it again");
    }
    let given = given.lock().await.clone();
    assert!(given.len() >= CALLERS, "under load there is something to lose, but only {} were minted", given.len());

    wait_until(SOON, "all but the long-lived to end", || async {
        stage
            .leases(&broker)
            .await
            .iter()
            .all(|l| l.is_over() || (l.state == "active" && is_long(&l.expires_at, &l.issued_at)))
    })
    .await;
    let leases = stage.quiet(&broker).await;
    for id in &given {
        let lease = find(&leases, id);
        let by = lease.ended_by.as_deref();
        let short = !is_long(&lease.expires_at, &lease.issued_at);
        assert_eq!((lease.is_over(), by), (short, short.then_some("expiry")), "a lease in a caller's hands: {lease:?}");
    }
    stage.assert_audit_holds(&broker).await;
    let operator = stage.client(&broker, OPERATOR);
    let live = leases.iter().filter(|l| !l.is_over()).count();
    let order = RevokeManyRequest { all: Some(true), expect: Some(live as u64), ..Default::default() };
    operator.revoke_many(&order).await.expect("end them all");
    wait_until(SOON, "no account to be left", || async { stage.accounts().await.is_empty() }).await;
}

/// Every other caller takes credentials that outlive the test, so that there is something which must not end.
async fn keep_minting(client: Client, number: usize, given: Arc<Mutex<BTreeSet<String>>>) {
    let ttl = if number.is_multiple_of(2) { "1s" } else { "10m" };
    while let Ok(held) = mint(&client, ttl).await {
        given.lock().await.insert(held.lease.id);
    }
}

fn is_long(expires_at: &str, issued_at: &str) -> bool {
    let [end, start]: [leasehold_sdk::Timestamp; 2] = [expires_at, issued_at].map(|t| t.parse().expect("a time"));
    end.since(start) > Duration::from_secs(60)
}
