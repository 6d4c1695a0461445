//! Every query goes by an index: what it costs follows from what it answers, not from how many leases there are.

use leasehold_sdk::LeaseId;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use super::super::super::conformance::identity;
use super::super::super::{Filter, Visible};
use super::super::{changes, claims, facts, leases, orders, query, records, token_status};
use super::*;
use crate::domain::lease::State;

each_version! { statements_go_by_index }

async fn statements_go_by_index(postgres: Installation) {
    let ground = Ground::start(postgres).await;
    let store = ground.open("s", "b1").await;
    let fixed = [
        records::INSERT,
        records::INSERT_FOLLOWER,
        leases::LIVE_OF_TARGET,
        changes::ACTIVATE,
        changes::ANNOUNCE,
        changes::RENEW,
        changes::END,
        changes::UNMADE,
        changes::UNMADE_CLOSED,
        claims::CLAIM,
        claims::WAKE,
        claims::CLOSE,
        claims::AGAIN,
        claims::NEXT_DUE,
        claims::FIRST_TO_DIE,
        claims::DUE_AND_LIVE,
        claims::LIVE_BY_TARGET,
        claims::LIVE_TARGETS,
        claims::PURGE,
        orders::PURGE_ORDERS,
        orders::END_LISTED,
        orders::NEXT_ORDER,
        facts::NEWEST,
        facts::OUTBOX,
        token_status::TOLD,
        token_status::PURGE,
    ];
    let own = Visible::Own { identity: identity("a"), roles: vec!["r".to_owned()] };
    let mut statements: Vec<String> = fixed.iter().map(|sql| (*sql).to_owned()).collect();
    for bits in 1..16_u8 {
        let on = |bit: u8, value: &str| (bits & bit != 0).then(|| value.to_owned());
        let filter = Filter {
            role: on(1, "r"),
            target: on(2, "t"),
            identity: on(4, identity("a").as_str()),
            state: (bits & 8 != 0).then_some(State::Revoking),
        };
        let parts = own.parts(&filter).into_iter().map(|part| query::list(&part, None, 10));
        let more = [query::count_up_to(&filter, LeaseId::new()), query::walk(&filter, "", LeaseId::new(), 10)];
        statements.extend(parts.chain(more).map(|q| q.into_string()));
    }
    for sql in statements {
        let plan = plan(&store, &sql).await;
        let walks = |table: &str| plan.contains(&format!("Seq Scan on {table}"));
        assert!(!["leases", "outbox", "token_withdrawals"].into_iter().any(walks), "{sql}\n{plan}");
    }
}

/// The server's own account of how it would run a statement, whatever its parameters are.
async fn plan(store: &Postgres, sql: &str) -> String {
    let mut db = store.db().await.unwrap();
    let mut transaction = db.begin().await.unwrap();
    // An empty table would be walked whole, and rightly: here that counts as the last resort.
    transaction
        .execute("SET LOCAL enable_seqscan = off; SET LOCAL plan_cache_mode = force_generic_plan")
        .await
        .unwrap();
    let name = unique("plan");
    transaction.execute(AssertSqlSafe(format!("PREPARE {name} AS {sql}"))).await.unwrap();
    let count = (1..=20).rev().find(|n| sql.contains(&format!("${n}"))).unwrap_or(0);
    let nulls = vec!["NULL"; count].join(", ");
    let arguments = if count == 0 { String::new() } else { format!("({nulls})") };
    let lines: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!("EXPLAIN EXECUTE {name}{arguments}")))
        .fetch_all(&mut *transaction)
        .await
        .unwrap();
    lines.join("\n")
}
