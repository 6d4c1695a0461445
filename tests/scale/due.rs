//! Very many leases that fall due at once: they end in batches, and who mints meanwhile gets what it asks for.

use leasehold_client::wire::LeaseQuery;
use leasehold_testkit::{Installation, PgFixture, copy_lease, wait_until};
use sqlx::{Connection, SqliteConnection};

use crate::stage::{BILLING, OPERATOR, Rights, SOON, Stage, mint};

/// So many are due; their accounts are gone from the target already, so that each is looked for and none is there.
const MANY: u32 = 10_000;
const MINTS: usize = 20;
const DUE: &str = "UPDATE leases SET state = 'revoking', ended_by = 'expiry', expires_at = issued_at, due_at = issued_at, \
    wake_at = issued_at, moved_at = issued_at WHERE id <> ?1";

leasehold_testkit::each_version! {
    ten_thousand_that_fall_due_at_once_all_end_while_others_are_made,
}

async fn ten_thousand_that_fall_due_at_once_all_end_while_others_are_made(postgres: Installation) {
    let stage = Stage::new(PgFixture::shared(postgres).await, Rights::CreateRole).await.with_target("ttl = \"1h\"");
    let mut broker = stage.broker().await;
    let model = mint(&stage.client(&broker, BILLING), "1h").await.expect("a mint");
    broker.terminate().await.expect("it ends");
    let store = stage.config.dir().join("leasehold.db");
    copy_lease(&store, &model.lease.id, 0, MANY).await.expect("very many");
    let mut db = SqliteConnection::connect(&format!("sqlite://{}", store.display())).await.expect("open the store");
    sqlx::query(DUE).bind(&model.lease.id).execute(&mut db).await.expect("make them due");
    db.close().await.expect("close the store");

    broker.restart().await.expect("start it again");
    let client = stage.client(&broker, BILLING);
    let mut alive = vec![model];
    for _ in 0..MINTS {
        alive.push(mint(&client, "1h").await.expect("a mint while very many are ended"));
    }
    let operator = stage.client(&broker, OPERATOR);
    let revoking = LeaseQuery { state: Some("revoking".into()), limit: Some(1), ..LeaseQuery::default() };
    wait_until(SOON, "all that were due to end", || async {
        operator.leases(&revoking).await.is_ok_and(|page| page.leases.is_empty())
    })
    .await;
    let revoked =
        broker.metric("leasehold_revocations_total{target=\"orders\",result=\"ok\"}").await.expect("the count");
    assert_eq!(revoked, f64::from(MANY), "each once");
    // The model's own account has the number that all copies name: it is nobody's but the model's.
    for held in &alive {
        stage.session(held).await;
    }
    assert_eq!(stage.accounts().await, alive.iter().map(|held| held.lease.account.clone()).collect());
    stage.assert_audit_holds(&broker).await;
}
