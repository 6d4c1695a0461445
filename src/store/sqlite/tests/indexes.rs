//! Every query goes by an index: what it costs follows from what it answers, not from how many leases there are.

use sqlx::Row as _;

use super::super::super::conformance::identity;
use super::super::super::{Filter, Visible};
use super::super::{changes, claims, facts, leases, orders, query, records, rooms, token_status};
use super::*;
use crate::domain::lease::State;
use leasehold_sdk::LeaseId;

/// The lines of SQLite's own account of how it would run a statement.
async fn plan(store: &Sqlite, sql: &str) -> Vec<String> {
    let mut db = store.reader().await.unwrap();
    let mut explain = query::tests::explain(sql);
    let lines = explain.build().fetch_all(&mut *db).await.unwrap();
    lines.iter().map(|row| row.get::<String, _>("detail")).collect()
}

fn by_index(plan: &[String]) -> bool {
    let walks_all = |step: &String| step.contains("SCAN leases") && !step.contains("INDEX");
    !plan.iter().any(|step| step.contains("TEMP B-TREE") || walks_all(step))
}

#[tokio::test]
async fn fixed_statements_go_by_index() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store.db")).await.unwrap();
    let expected = [
        (records::INSERT, "leases_live_of_holder (role=? AND identity=?"),
        (records::INSERT, "leases_live_followers (replaces=?)"),
        (leases::LIVE_OF_TARGET, "leases_live_of_target (target=? AND id>?)"),
        (claims::CLAIM, "leases_due (target=? AND tried=? AND wake_at<?)"),
        (claims::WAKE, "leases_due (target=? AND tried=? AND wake_at>?)"),
        (claims::NEXT_DUE, "COVERING INDEX leases_due (target=? AND tried=?)"),
        (claims::FIRST_TO_DIE, "leases_due (target=? AND tried=?)"),
        (claims::LIVE_TARGETS, "SEARCH leases USING INDEX leases_live_of_target (target>?)"),
        (claims::PURGE, "leases_ended (ended_at>? AND ended_at<?)"),
        (orders::PURGE_ORDERS, "orders_finished (finished_at>? AND finished_at<?)"),
        (claims::DUE_AND_LIVE, "COVERING INDEX leases_due"),
        (claims::LIVE_BY_TARGET, "COVERING INDEX leases_"),
        (claims::CLOSE, "id=?)"),
        (claims::AGAIN, "id=?)"),
        (orders::END_LISTED, "id=?)"),
        (facts::NEWEST, "COVERING INDEX sqlite_autoindex_leases_1"),
        (orders::NEXT_ORDER, "orders_unfinished"),
        (rooms::PLACES, "room_places_of_room (room=?)"),
        (token_status::TOLD, "token_withdrawals_told (told_at>?)"),
        (token_status::PURGE, "token_withdrawals_over (ends_at<?)"),
    ];
    for (sql, index) in expected {
        let plan = plan(&store, sql).await;
        assert!(by_index(&plan) && plan.iter().any(|step| step.contains(index)), "{sql}\n{plan:#?}");
    }
}

/// What is sorted here is the list that was given, never the table.
#[tokio::test]
async fn lists_of_changes_go_by_index() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store.db")).await.unwrap();
    let expected = [
        (records::INSERT_ALL, "leases_live_of_holder (role=? AND identity=?"),
        (changes::ACTIVATE_ALL, "sqlite_autoindex_leases_1 (id=?)"),
    ];
    for (sql, index) in expected {
        let plan = plan(&store, sql).await;
        let walks = plan.iter().any(|step| step.contains("SCAN leases"));
        assert!(!walks && plan.iter().any(|step| step.contains(index)), "{sql}\n{plan:#?}");
    }
}

#[tokio::test]
async fn filters_go_by_index() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store.db")).await.unwrap();
    let own = Visible::Own { identity: identity("a"), roles: vec!["r".to_owned(), "r2".to_owned()] };
    let states = [None].into_iter().chain(State::ALL.into_iter().map(Some));
    for (bits, state) in (0..8_u8).flat_map(|bits| states.clone().map(move |state| (bits, state))) {
        let on = |bit: u8, value: &str| (bits & bit != 0).then(|| value.to_owned());
        let filter = Filter { role: on(1, "r"), target: on(2, "t"), identity: on(4, identity("a").as_str()), state };
        let up_to = LeaseId::new();
        let mut statements = vec![query::count_live(&filter), query::count_up_to(&filter, up_to)];
        statements.push(query::walk(&filter, "", up_to, 10));
        for before in [None, Some(LeaseId::new())] {
            statements.push(query::list(&filter, before, 10));
            statements.extend(own.parts(&filter).iter().map(|part| query::list(part, before, 10)));
        }
        for statement in statements {
            let sql = statement.into_string();
            // What has no filter is walked whole, or by the id.
            let plan = plan(&store, &sql).await;
            assert!(by_index(&plan), "{sql}\n{plan:#?}");
            // The many that share a state never stand between a holder and its few.
            let narrower = sql.contains("+state") && plan.iter().any(|step| step.contains("leases_in_state"));
            assert!(!narrower, "{sql}\n{plan:#?}");
        }
    }
}
