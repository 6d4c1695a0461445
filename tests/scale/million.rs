//! Leases cost nothing to have: a broker with very many starts and works as one with none.

use leasehold_client::wire::{LeaseQuery, RevokeManyRequest, Selector};
use leasehold_testkit::{Broker, PgFixture, Proxy, copy_lease, resident_kib, wait_until};

use crate::stage::{BILLING, OPERATOR, ROLE, Rights, SOON, Stage, mint};

/// So many live; `cargo bench --bench broker -- --only scale` measures with ten times as many.
const MANY: u32 = 100_000;
/// What a broker may grow by for having them.
const GROWTH_KIB_MAX: u64 = 20 * 1024;

/// A broker whose target has been reached once and is away now, so that nothing is found out about accounts that are none.
async fn stage() -> (Stage, Broker, String) {
    let pg = PgFixture::shared(leasehold_testkit::distribution()).await;
    let stage = Stage::new(pg, Rights::CreateRole).await;
    let proxy = Proxy::start(stage.pg.server().port()).await;
    let url =
        stage.admin.url.replace(&format!(":{}", stage.pg.server().port()), &format!(":{}", proxy.address().port()));
    let stage = stage.with_target_at(&url, "", "ttl = \"8h\"");
    let stage = stage.limit("live_leases_per_identity_and_role", 10_000_000).limit("order_step_leases_max", 2000);
    let mut broker = stage.broker().await;
    let model = mint(&stage.client(&broker, BILLING), "8h").await.expect("a mint").lease.id;
    drop(proxy);
    broker.terminate().await.expect("it ends");
    (stage, broker, model)
}

fn resident(broker: &Broker) -> u64 {
    resident_kib(broker.pid().expect("it runs")).expect("its memory")
}

async fn live(broker: &Broker) -> f64 {
    broker.metric("leasehold_leases{target=\"orders\"}").await.unwrap_or(-1.0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_live_leases_cost_no_memory_and_are_found_by_index() {
    let (stage, mut broker, model) = stage().await;
    broker.restart().await.expect("start with one lease");
    wait_until(SOON, "the lease to be counted", || async { live(&broker).await == 1.0 }).await;
    let alone = resident(&broker);
    broker.terminate().await.expect("it ends");
    copy_lease(&stage.config.dir().join("leasehold.db"), &model, 0, MANY).await.expect("very many");

    broker.restart().await.expect("start with very many");
    // By then it has walked over all of them for the metric.
    wait_until(SOON, "the leases to be counted", || async { live(&broker).await == f64::from(MANY + 1) }).await;
    let with_many = resident(&broker);
    assert!(with_many < alone + GROWTH_KIB_MAX, "{alone} KiB with one lease, {with_many} KiB with {MANY} more");

    let operator = stage.client(&broker, OPERATOR);
    let mut ask = LeaseQuery { limit: Some(1000), ..LeaseQuery::default() };
    let first = operator.leases(&ask).await.expect("a page");
    ask.cursor = first.next_cursor;
    let second = operator.leases(&ask).await.expect("the next page");
    assert_eq!((first.leases.len(), second.leases.len()), (1000, 1000));
    assert!(first.leases[999].id > second.leases[0].id, "newest first, none twice");
    let one = LeaseQuery { identity: Some("spiffe://dev.local/billing-7".into()), ..LeaseQuery::default() };
    assert_eq!(operator.all_leases(&one).await.expect("its leases").len(), MANY as usize / 1000);
    one_order_reaches_all_of_them(&stage, &broker).await;
}

/// The target is away, so that none is dead in the end; but all are being ended, and the memory is what it was.
async fn one_order_reaches_all_of_them(stage: &Stage, broker: &Broker) {
    let operator = stage.client(broker, OPERATOR);
    let mut ask = RevokeManyRequest::of(Selector::Role(ROLE.into()));
    ask.dry_run = Some(true);
    let matched = operator.revoke_many(&ask).await.expect("a dry run").matched;
    assert_eq!(matched, u64::from(MANY + 1));
    (ask.dry_run, ask.expect) = (None, Some(matched));
    let before = resident(broker);
    let order = operator.revoke_many(&ask).await.expect("an order").order.expect("an id");
    wait_until(SOON, "the order to have come to all", || async {
        operator.order(&order).await.is_ok_and(|o| o.finished_at.is_some())
    })
    .await;
    let done = operator.order(&order).await.expect("the order");
    assert_eq!((done.ordered, done.left), (matched, matched));
    let after = resident(broker);
    // What a hundred thousand ends leave in the allocator of a debug build is allowed for.
    assert!(after < before + 2 * GROWTH_KIB_MAX, "{before} KiB before the order, {after} KiB after it");
}
