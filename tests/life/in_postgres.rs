//! The same life with a PostgreSQL store.

use leasehold_client::wire::RenewRequest;
use leasehold_testkit::{Installation, PgFixture};

use crate::stage::{BILLING, OPERATOR, Rights, SOON, Stage, end, mint};

leasehold_testkit::each_version! { a_lease_lives_and_ends_in_a_postgresql_store }

async fn a_lease_lives_and_ends_in_a_postgresql_store(postgres: Installation) {
    let pg = PgFixture::shared(postgres).await;
    let stage = Stage::new(pg.same(), Rights::CreateRole).await.with_target("ttl = \"10m\"\nmax_ttl = \"1h\"");
    let stage = stage.with_store_on(&pg).await;
    let broker = stage.broker().await;
    let client = stage.client(&broker, BILLING);

    let short = mint(&client, "3s").await.expect("a mint");
    let held = mint(&client, "10m").await.expect("a mint");
    let (dies_first, mut session) = (stage.session(&short).await, stage.session(&held).await);
    let renewed = client.renew(&held.lease.id, &RenewRequest { ttl: Some("20m".to_owned()) }).await.expect("a renewal");
    assert!(renewed.expires_at > held.lease.expires_at);
    dies_first.wait_until_dead(SOON).await;
    assert_eq!(end(&stage.over(&broker, &short.lease.id).await), ("revoked", Some("expiry")));
    drop(broker);

    // What it knew is in the database: a broker that starts anew goes on.
    let broker = stage.broker().await;
    assert!(session.is_alive().await);
    stage.client(&broker, OPERATOR).revoke(&held.lease.id).await.expect("a revocation");
    session.wait_until_dead(SOON).await;
    stage.assert_refused(&held).await;
    assert_eq!(end(&stage.over(&broker, &held.lease.id).await), ("revoked", Some("operator")));
    stage.quiet(&broker).await;
}
