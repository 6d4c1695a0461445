//! Lost answers, mints that stall, locks that are held: what a lease's end may believe.

use std::time::Duration;

use leasehold_sdk::{EngineError, MintOrder, Plan, RevokeOrder};
use leasehold_testkit::{Installation, PgFixture, Proxy, wait_until};
use serde_json::json;

use crate::bed::{Bed, Kind, soon};

leasehold_testkit::each_version! {
    a_commit_whose_answer_is_lost,
    a_request_that_arrives_after_the_lease_ended,
    a_create_that_stalls_in_the_server_while_its_lease_is_revoked,
    a_lock_held_by_an_account,
    a_server_that_is_away,
    a_lost_session_is_not_used_again,
    revoking_from_another_database,
    one_that_resists_delays_no_other,
    a_batch_larger_than_a_chunk,
}

const PATIENCE: Duration = Duration::from_secs(20);
const BOTH: [Kind; 2] = [Kind::Superuser, Kind::Createrole];
const ALL: [Kind; 3] = [Kind::Superuser, Kind::Createrole, Kind::Functions];

/// A bed whose engine talks through a proxy.
async fn behind_proxy(postgres: Installation, kind: Kind, more: serde_json::Value) -> (Bed, Proxy) {
    let pg = PgFixture::shared(postgres).await;
    let proxy = Proxy::start(pg.server().port()).await;
    let mut settings = json!({"proxy_port": proxy.port(), "tls": {"mode": "disable"}});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let bed = Bed::on(pg, kind, settings).await;
    bed.warm_up().await;
    (bed, proxy)
}

/// Ends what may have been made, and sees that nothing is there.
async fn ends(bed: &Bed, plan: &Plan, mint_deadline: leasehold_sdk::Timestamp) {
    let order = [RevokeOrder::now(plan.clone(), None, mint_deadline)];
    wait_until(PATIENCE, "the lease to end", || async { bed.engine.revoke(&order).await.remove(0).is_ok() }).await;
    assert!(bed.pg.roles_with_prefix(&plan.account.to_string()).await.is_empty());
}

async fn a_commit_whose_answer_is_lost(postgres: Installation) {
    for kind in ALL {
        let (bed, proxy) = behind_proxy(postgres.clone(), kind, json!({})).await;
        let plan = bed.plan(&bed.role(json!({})), &[]);
        proxy.cut_reply_to(&plan.account.to_string());
        let answer = bed.mint_plan(&plan).await;
        assert!(matches!(answer, Err(EngineError::Unknown { .. })), "{answer:?}");
        let made = bed.pg.roles_with_prefix(&plan.account.to_string()).await.len();
        assert_eq!(made, 1, "the test wants it made");
        ends(&bed, &plan, soon(30)).await;

        let plan = bed.plan(&bed.role(json!({})), &[]);
        proxy.cut_before(&plan.account.to_string());
        assert!(matches!(bed.mint_plan(&plan).await, Err(EngineError::Unknown { .. })));
        ends(&bed, &plan, soon(1)).await;
    }
}

async fn a_request_that_arrives_after_the_lease_ended(postgres: Installation) {
    let (bed, proxy) = behind_proxy(postgres, Kind::Createrole, json!({"statement_timeout": "500ms"})).await;
    let plan = bed.plan(&bed.role(json!({})), &[]);
    let deadline = soon(1);
    proxy.hold(&format!("CREATE ROLE \"{}\"", plan.account));
    let order = MintOrder { plan: plan.clone(), expires_at: soon(60), deadline };
    let answer = bed.engine.mint(vec![order]).await.remove(0);
    assert!(matches!(answer, Err(EngineError::Unknown { .. })), "{answer:?}");
    ends(&bed, &plan, deadline).await;
    proxy.mend();
    // The late message is on its way now; the server takes it, and its guard undoes it. Nothing tells us when that was, so
    // that we look until a message that was sent after it has been answered many times.
    for _ in 0..20 {
        bed.warm_up().await;
        assert!(bed.pg.roles_with_prefix(&plan.account.to_string()).await.is_empty(), "it was made after all");
    }
}

/// Law 3, measured on PostgreSQL: DROP ROLE IF EXISTS skips a role whose CREATE commits a moment later.
async fn a_create_that_stalls_in_the_server_while_its_lease_is_revoked(postgres: Installation) {
    for kind in ALL {
        let pg = PgFixture::own(leasehold_testkit::PgOptions::on(postgres.clone()).without_fsync()).await;
        let bed = Bed::on(pg, kind, json!({"lock_timeout": "30s", "statement_timeout": "30s"})).await;
        bed.warm_up().await;
        // CREATE ROLE goes through its guard and then waits for this lock, uncommitted.
        let mut blocker = bed.pg.superuser().await;
        blocker.execute("BEGIN").await.unwrap();
        blocker.execute("LOCK TABLE pg_catalog.pg_authid IN SHARE MODE").await.unwrap();
        let plan = bed.plan(&bed.role(json!({})), &[]);
        let deadline = soon(2);
        let order = MintOrder { plan: plan.clone(), expires_at: soon(60), deadline };
        let engine = std::sync::Arc::clone(&bed.engine);
        let stalled = tokio::spawn(async move { engine.mint(vec![order]).await.remove(0) });
        let waits = "SELECT count(*)::text FROM pg_locks WHERE NOT granted AND relation = 'pg_authid'::regclass";
        wait_until(PATIENCE, "the CREATE to stall", || async { bed.ask(waits).await.unwrap() == "1" }).await;

        let order = [RevokeOrder::now(plan.clone(), None, deadline)];
        wait_until(PATIENCE, "the lease to end", || async { bed.engine.revoke(&order).await.remove(0).is_ok() }).await;
        blocker.execute("COMMIT").await.unwrap();
        let answer = stalled.await.unwrap();
        assert!(matches!(answer, Err(EngineError::Unknown { .. })), "its backend was ended: {answer:?}");
        assert!(bed.pg.roles_with_prefix(&plan.account.to_string()).await.is_empty(), "an orphan");
    }
}

async fn a_lock_held_by_an_account(postgres: Installation) {
    for kind in ALL {
        let bed = Bed::new(postgres.clone(), kind).await;
        let plan = bed.plan(&bed.role(json!({})), &[]);
        let holder = bed.mint(&bed.role(json!({}))).await;
        let mut s = bed.login(&holder).await;
        let key = plan.account.lease().lock_key();
        s.execute(&format!("SELECT pg_advisory_lock({key})")).await.unwrap();
        ends(&bed, &plan, soon(1)).await;
        s.wait_until_dead(PATIENCE).await;
        bed.assert_ends(&holder).await;
    }
}

async fn a_server_that_is_away(postgres: Installation) {
    let (bed, proxy) = behind_proxy(postgres, Kind::Superuser, json!({"connect_timeout": "1s"})).await;
    let role = bed.role(json!({}));
    let account = bed.mint(&role).await;
    proxy.sever();
    let plan = bed.plan(&role, &[]);
    let answer = bed.mint_plan(&plan).await;
    // The first may have found a session that was thought alive; nobody may believe that nothing was made then.
    assert!(matches!(answer, Err(EngineError::Retry { .. } | EngineError::Unknown { .. })), "{answer:?}");
    let answer = bed.mint_plan(&plan).await;
    assert!(matches!(answer, Err(EngineError::Retry { .. })), "{answer:?}");
    assert!(matches!(bed.revoke(&account).await, Err(EngineError::Retry { .. })));
    assert!(bed.engine.fingerprint().await.is_err());
    proxy.mend();
    wait_until(PATIENCE, "the account to end", || async { bed.revoke(&account).await.is_ok() }).await;
    bed.mint(&role).await;
}

async fn a_lost_session_is_not_used_again(postgres: Installation) {
    let bed = Bed::new(postgres, Kind::Superuser).await;
    bed.warm_up().await;
    bed.run(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{}'", bed.admin.name))
        .await;
    // Longer than a session may lie idle without being asked for a sign of life.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let account = bed.mint(&bed.role(json!({}))).await;
    bed.assert_ends(&account).await;
}

/// Advisory locks are per database: a target that now works from another one must still meet its old mints.
async fn revoking_from_another_database(postgres: Installation) {
    for kind in BOTH {
        let bed = Bed::new(postgres.clone(), kind).await;
        let account = bed.mint(&bed.writing_role(json!({}))).await;
        bed.login(&account).await.execute("CREATE TABLE public.t (i int)").await.unwrap();
        let never = bed.plan(&bed.role(json!({})), &[]);
        let moved = bed.moved_to("postgres").await;
        moved.assert_ends(&account).await;
        ends(&moved, &never, soon(1)).await;
        let mut gone = bed.plan(&bed.role(json!({})), &[]);
        gone.body["guard_database"] = json!("a database that is no more");
        ends(&moved, &gone, soon(1)).await;
    }
}

async fn one_that_resists_delays_no_other(postgres: Installation) {
    for kind in ALL {
        let bed = Bed::new(postgres.clone(), kind).await;
        let role = bed.writing_role(json!({}));
        let (a, stuck, b) = (bed.mint(&role).await, bed.mint(&role).await, bed.mint(&role).await);
        bed.login(&stuck).await.execute("CREATE TABLE public.busy (i int)").await.unwrap();
        let mut holder = bed.pg.superuser().await;
        holder.execute("BEGIN").await.unwrap();
        holder.execute("LOCK TABLE public.busy").await.unwrap();
        let orders: Vec<_> = [&a, &stuck, &b].map(crate::bed::order).into();
        let answers = bed.engine.revoke(&orders).await;
        assert!(answers[0].is_ok() && answers[2].is_ok(), "{answers:?}");
        let Err(EngineError::Retry { why, .. }) = &answers[1] else { panic!("{:?}", answers[1]) };
        assert!(why.as_str().contains("lock timeout"), "{why}");
        bed.pg.assert_refused(&stuck.name, &stuck.password).await;
        holder.execute("COMMIT").await.unwrap();
        bed.assert_ends(&stuck).await;
    }
}

async fn a_batch_larger_than_a_chunk(postgres: Installation) {
    for kind in ALL {
        let bed = Bed::new(postgres.clone(), kind).await;
        let role = bed.role(json!({}));
        let plans: Vec<_> = (0..64).map(|_| bed.plan(&role, &[])).collect();
        let orders =
            plans.iter().map(|p| MintOrder { plan: p.clone(), expires_at: soon(60), deadline: soon(30) }).collect();
        let minted = bed.engine.mint(orders).await;
        let receipts = minted.into_iter().map(|m| m.unwrap().receipt);
        let orders: Vec<_> =
            plans.iter().zip(receipts).map(|(p, r)| RevokeOrder::now(p.clone(), Some(r), soon(30))).collect();
        let answers = bed.engine.revoke(&orders).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        let prefix = format!("lh_{}_{}", bed.mark.cluster, bed.mark.tag);
        assert!(bed.pg.roles_with_prefix(&prefix).await.is_empty());
    }
}
