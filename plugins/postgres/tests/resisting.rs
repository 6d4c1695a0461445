//! Accounts that resist their end: they lock their own row, fill the server's table of locks, come back, and own more than
//! one statement can hand over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use leasehold_testkit::{Installation, PgFixture, PgOptions, Session, wait_until};
use serde_json::json;

use crate::bed::{Bed, Kind};

leasehold_testkit::each_version! {
    its_own_row_locked,
    its_own_row_locked_by_a_prepared_transaction,
    the_role_locked_by_a_friend,
    logins_that_keep_locking_its_row,
    an_edited_receipt_ends_nobody_else,
    a_full_table_of_locks,
    a_table_of_locks_filled_again_and_again,
    the_session_of_last_resort,
    those_who_resist_take_no_session_from_others,
    more_than_one_statement_can_hand_over,
    more_than_one_statement_can_drop,
}

const ALL: [Kind; 3] = [Kind::Superuser, Kind::Createrole, Kind::Functions];
const DYING: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(20);

/// A role may change its own password and settings, and the lock of that lasts as long as the transaction.
async fn its_own_row_locked(postgres: Installation) {
    for kind in ALL {
        let bed = Bed::new(postgres.clone(), kind).await;
        let (role, other) = (bed.writing_role(json!({})), bed.role(json!({})));
        let (a, b, calm) = (bed.mint(&role).await, bed.mint(&role).await, bed.mint(&other).await);
        let mut s = bed.login(&a).await;
        s.execute("BEGIN; ALTER ROLE CURRENT_USER PASSWORD 'x'").await.unwrap();
        let mut t = bed.login(&b).await;
        t.execute("BEGIN; ALTER ROLE CURRENT_USER SET work_mem = '1MB'; CREATE TABLE public.mine (i int)")
            .await
            .unwrap();
        let answers = bed.engine.revoke(&[&a, &b, &calm].map(crate::bed::order)).await;
        assert!(answers.iter().all(Result::is_ok), "{kind:?}: {answers:?}");
        s.wait_until_dead(DYING).await;
        t.wait_until_dead(DYING).await;
        for account in [a, b, calm] {
            bed.assert_ends(&account).await;
        }
    }
}

async fn its_own_row_locked_by_a_prepared_transaction(postgres: Installation) {
    for kind in ALL {
        let bed = Bed::own(postgres.clone(), kind).await;
        let role = bed.writing_role(json!({}));
        let (a, b) = (bed.mint(&role).await, bed.mint(&role).await);
        bed.run("CREATE DATABASE elsewhere").await;
        let there = bed.pg.options(&a.name, &a.password).database("elsewhere");
        let mut s = Session::open(&there).await.unwrap();
        s.execute("BEGIN; ALTER ROLE CURRENT_USER PASSWORD 'x'; PREPARE TRANSACTION 'a'").await.unwrap();
        let mut t = bed.login(&b).await;
        t.execute("BEGIN; ALTER ROLE CURRENT_USER SET work_mem = '1MB'; PREPARE TRANSACTION 'b'").await.unwrap();
        bed.assert_ends(&a).await;
        bed.assert_ends(&b).await;
        s.wait_until_dead(DYING).await;
        // One account of ours holds the row of another, to which it once belonged.
        let (a, b) = (bed.mint(&role).await, bed.mint(&role).await);
        bed.run(&format!("GRANT \"{}\" TO \"{}\"", a.name, b.name)).await;
        let mut s = bed.login(&b).await;
        let change = format!("BEGIN; SET LOCAL ROLE \"{}\"; ALTER ROLE CURRENT_USER PASSWORD 'x'", a.name);
        s.execute(&change).await.unwrap();
        s.execute("RESET ROLE; PREPARE TRANSACTION 'c'").await.unwrap();
        bed.assert_ends(&a).await;
        bed.assert_ends(&b).await;
        assert_eq!(bed.ask("SELECT count(*)::text FROM pg_prepared_xacts").await.unwrap(), "0");
    }
}

async fn the_role_locked_by_a_friend(postgres: Installation) {
    for kind in ALL {
        let bed = Bed::new(postgres.clone(), kind).await;
        for hold in [
            "SET ROLE \"{}\"; ALTER ROLE CURRENT_USER PASSWORD 'x'",
            "SET ROLE \"{}\"; ALTER ROLE CURRENT_USER SET work_mem = '1MB'",
            "SET ROLE \"{}\"; CREATE TEMP TABLE mine (i int)",
            "COMMENT ON ROLE \"{}\" IS 'mine'",
            "GRANT \"{}\" TO pg_monitor",
        ] {
            let account = bed.mint(&bed.writing_role(json!({}))).await;
            let friend = bed.pg.login("friend", "CREATEROLE").await;
            let grant = format!("GRANT \"{}\" TO {} WITH ADMIN OPTION", account.name, friend.name);
            bed.run(&grant).await;
            let mut f = bed.pg.session(&friend.name, &friend.password).await;
            f.execute(&format!("BEGIN; {}", hold.replace("{}", &account.name)))
                .await
                .unwrap_or_else(|e| panic!("{hold}: {e}"));
            bed.assert_ends(&account).await;
        }
    }
}

/// New logins come between the end of its sessions and the fence, and each locks the row again.
async fn logins_that_keep_locking_its_row(postgres: Installation) {
    for kind in ALL {
        let bed = Bed::new(postgres.clone(), kind).await;
        let account = bed.mint(&bed.role(json!({"connection_limit": 50}))).await;
        let stop = Arc::new(AtomicBool::new(false));
        let lockers: Vec<_> = ["SELECT pg_sleep(60)", "COMMIT", "SELECT pg_sleep(60)", "ROLLBACK", "COMMIT", "COMMIT"]
            .map(|end| {
                // To what it is: the next login needs it.
                let sql = format!("BEGIN; ALTER ROLE CURRENT_USER PASSWORD '{}'; {end}", account.password);
                tokio::spawn(again_and_again(bed.pg.options(&account.name, &account.password), sql, Arc::clone(&stop)))
            })
            .into();
        let waits = "SELECT count(*)::text FROM pg_locks WHERE NOT granted";
        wait_until(DYING, "the row to be locked", || async { bed.ask(waits).await.unwrap() != "0" }).await;
        bed.assert_ends(&account).await;
        stop.store(true, Ordering::Relaxed);
        for l in lockers {
            l.await.unwrap();
        }
    }
}

/// Logs in, runs the statements until the session breaks, and logs in again.
async fn again_and_again(options: sqlx::postgres::PgConnectOptions, sql: String, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut s) = Session::open(&options).await else { continue };
        while !stop.load(Ordering::Relaxed) && s.is_alive().await {
            let _ = s.execute(&sql).await;
        }
    }
}

async fn an_edited_receipt_ends_nobody_else(postgres: Installation) {
    for kind in ALL {
        let bed = Bed::new(postgres.clone(), kind).await;
        let account = bed.mint(&bed.role(json!({}))).await;
        let other = bed.mint(&bed.role(json!({}))).await;
        let mut others = [bed.pg.superuser().await, bed.login(&other).await];
        for s in &mut others {
            let oid = "SELECT usesysid::text FROM pg_stat_activity WHERE pid = pg_backend_pid()";
            let oid: u32 = s.text(oid).await.unwrap().unwrap().parse().unwrap();
            let mut order = crate::bed::order(&account);
            order.receipt = Some(leasehold_sdk::Receipt(json!({"oid": oid})));
            bed.engine.revoke(&[order]).await.remove(0).unwrap();
            assert!(s.is_alive().await, "{kind:?}: a session of somebody else was ended");
        }
        bed.assert_ends(&account).await;
        bed.assert_ends(&other).await;
    }
}

/// Any account can fill the server's table of locks; then nobody can connect, and hardly any statement works.
async fn a_full_table_of_locks(postgres: Installation) {
    for kind in ALL {
        let options = PgOptions::on(postgres.clone()).without_fsync().conf("max_locks_per_transaction = 10");
        let bed = Bed::on(PgFixture::own(options).await, kind, json!({})).await;
        bed.warm_up().await;
        let account = bed.mint(&bed.role(json!({}))).await;
        let mut superuser = bed.pg.superuser().await;
        let mut s = bed.login(&account).await;
        let fill = "SELECT count(pg_advisory_lock(g)) FROM generate_series(1, 10000000) g";
        let full = s.execute(fill).await.unwrap_err();
        assert!(full.to_string().contains("out of shared memory"), "{full}");
        assert!(bed.pg.try_login("postgres", "x").await.is_err());
        let calm = bed.plan(&bed.role(json!({})), &[]);
        assert!(bed.mint_plan(&calm).await.is_err(), "{kind:?}: the test wants no room left");
        bed.assert_ends(&account).await;
        s.wait_until_dead(DYING).await;
        assert!(superuser.is_alive().await);
        bed.warm_up().await;
    }
}

/// It comes back as often as it can until it is fenced.
async fn a_table_of_locks_filled_again_and_again(postgres: Installation) {
    for kind in ALL {
        let options = PgOptions::on(postgres.clone()).without_fsync().conf("max_locks_per_transaction = 10");
        let bed = Bed::on(PgFixture::own(options).await, kind, json!({})).await;
        bed.warm_up().await;
        let account = bed.mint(&bed.role(json!({}))).await;
        let stop = Arc::new(AtomicBool::new(false));
        let fill = "SELECT count(pg_advisory_lock(g)) FROM generate_series(1, 10000000) g".to_owned();
        let fillers: Vec<_> = (0..4)
            .map(|_| {
                let options = bed.pg.options(&account.name, &account.password);
                tokio::spawn(again_and_again(options, fill.clone(), Arc::clone(&stop)))
            })
            .collect();
        let never = bed.plan(&bed.role(json!({})), &[]);
        let full = || async { bed.mint_plan(&never).await.is_err() };
        wait_until(DYING, "the table to be full", full).await;
        wait_until(PATIENCE, "the account to end", || async { bed.revoke(&account).await.is_ok() }).await;
        stop.store(true, Ordering::Relaxed);
        for f in fillers {
            f.await.unwrap();
        }
        bed.assert_ends(&account).await;
    }
}

/// The session of last resort holds its locks, is replaced when it breaks, and does not hold back vacuum.
async fn the_session_of_last_resort(postgres: Installation) {
    for kind in ALL {
        let bed = Bed::new(postgres.clone(), kind).await;
        bed.warm_up().await;
        let standing = |what: &str| {
            format!(
                "SELECT {what} FROM pg_stat_activity WHERE usename = '{}' AND state = 'idle in transaction'",
                bed.admin.name
            )
        };
        assert_eq!(bed.ask(&standing("count(*)::text")).await.unwrap(), "1", "{kind:?}");
        assert_eq!(bed.ask(&standing("(backend_xmin IS NULL AND backend_xid IS NULL)::text")).await.unwrap(), "true");
        bed.run(&standing("pg_terminate_backend(pid)")).await;
        let count = standing("count(*)::text");
        let again = || async {
            bed.warm_up().await;
            bed.ask(&count).await.unwrap() == "1"
        };
        wait_until(PATIENCE, "a new one", again).await;
        assert_eq!(bed.ask(&standing("(backend_xmin IS NULL AND backend_xid IS NULL)::text")).await.unwrap(), "true");
    }
}

/// Whoever resists takes the sessions that end accounts, and none that make or look.
async fn those_who_resist_take_no_session_from_others(postgres: Installation) {
    let bed =
        Arc::new(Bed::on(PgFixture::shared(postgres).await, Kind::Createrole, json!({"lock_timeout": "3s"})).await);
    let mut holder = bed.pg.superuser().await;
    let mut busy = Vec::new();
    let mut stuck = Vec::new();
    for i in 0..3 {
        let account = bed.mint(&bed.writing_role(json!({}))).await;
        bed.login(&account).await.execute(&format!("CREATE TABLE public.busy{i} (i int)")).await.unwrap();
        busy.push(format!("LOCK TABLE public.busy{i}"));
        stuck.push(account);
    }
    holder.execute(&format!("BEGIN; {}", busy.join(";"))).await.unwrap();
    let orders: Vec<_> = stuck.iter().map(crate::bed::order).collect();
    let endings: Vec<_> = orders
        .into_iter()
        .map(|order| {
            let bed = Arc::clone(&bed);
            tokio::spawn(async move { bed.engine.revoke(&[order]).await.remove(0) })
        })
        .collect();
    let waits = "SELECT count(*)::text FROM pg_locks WHERE NOT granted AND relation::regclass::text LIKE 'busy%'";
    wait_until(DYING, "three endings to wait", || async { bed.ask(waits).await.unwrap() == "3" }).await;
    let since = tokio::time::Instant::now();
    bed.engine.fingerprint().await.unwrap();
    bed.engine.list(&bed.mark, None, 10).await.unwrap();
    bed.engine.vet(&bed.role(json!({}))).await.unwrap();
    bed.mint(&bed.role(json!({}))).await;
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    holder.execute("COMMIT").await.unwrap();
    for e in endings {
        e.await.unwrap().unwrap();
    }
}

/// So little time that no single statement could hand over what the account owns.
const SHORT: &str = "300ms";
const LARGE_OBJECTS: usize = 60_000;

async fn with_very_much(postgres: Installation, kind: Kind, dropped: bool) -> (Bed, crate::bed::Account) {
    let options = PgOptions::on(postgres).without_fsync();
    let bed = Bed::on(PgFixture::own(options).await, kind, json!({"statement_timeout": SHORT})).await;
    // Of the receiver the account is a member, so that the receiver cannot become one of it.
    let more = if dropped { json!({"owned": "drop"}) } else { json!({"reassign_to": bed.writer}) };
    bed.install(more.clone()).await;
    let account = bed.mint(&bed.writing_role(more)).await;
    let mut s = bed.login(&account).await;
    s.execute(&format!("SELECT count(lo_create(0)) FROM generate_series(1, {LARGE_OBJECTS})")).await.unwrap();
    s.execute(
        "CREATE SCHEMA own; CREATE TABLE own.t (i serial, v int); CREATE VIEW own.v AS SELECT * FROM own.t;\
         DO $$BEGIN FOR i IN 1..1500 LOOP \
         EXECUTE format('CREATE FUNCTION own.f%s() RETURNS int SECURITY DEFINER LANGUAGE sql AS ''SELECT 1''', i); END LOOP; END$$",
    )
    .await
    .unwrap();
    let mut superuser = bed.pg.superuser().await;
    superuser.execute(&format!("SET statement_timeout = '{SHORT}'")).await.unwrap();
    let at_once = superuser.execute(&format!("REASSIGN OWNED BY \"{}\" TO postgres", account.name)).await;
    assert!(at_once.unwrap_err().to_string().contains("timeout"), "the test wants it to be too much");
    (bed, account)
}

async fn ends_in_rounds(bed: &Bed, account: &crate::bed::Account) {
    let ends = || async {
        match bed.revoke(account).await {
            Ok(()) => true,
            Err(leasehold_sdk::EngineError::Retry { .. }) => false,
            Err(e) => panic!("{:?}: {e}", bed.kind),
        }
    };
    wait_until(Duration::from_secs(60), "the account to end", ends).await;
    bed.assert_ends(account).await;
}

async fn more_than_one_statement_can_hand_over(postgres: Installation) {
    for kind in ALL {
        let (bed, account) = with_very_much(postgres.clone(), kind, false).await;
        // Another account got rights on all of it.
        let friend = bed.mint(&bed.role(json!({}))).await;
        bed.login(&account)
            .await
            .execute(&format!(
                "DO $$DECLARE l oid; BEGIN FOR l IN SELECT oid FROM pg_largeobject_metadata LIMIT 3000 LOOP \
                 EXECUTE format('GRANT SELECT ON LARGE OBJECT %s TO \"{}\"', l); END LOOP; END$$",
                friend.name
            ))
            .await
            .unwrap();
        ends_in_rounds(&bed, &account).await;
        ends_in_rounds(&bed, &friend).await;
        let owners = "SELECT string_agg(DISTINCT pg_get_userbyid(lomowner), ',') FROM pg_largeobject_metadata";
        assert_eq!(bed.ask(owners).await.unwrap(), bed.writer, "{kind:?}");
        let owners =
            "SELECT string_agg(DISTINCT pg_get_userbyid(proowner), ',') FROM pg_proc WHERE proname ~ '^f[0-9]+$'";
        assert_eq!(bed.ask(owners).await.unwrap(), bed.estate(), "{kind:?}: they act for their owner");
        let count = "SELECT count(*)::text FROM pg_largeobject_metadata";
        assert_eq!(bed.ask(count).await.unwrap(), LARGE_OBJECTS.to_string(), "nothing is lost");
    }
}

async fn more_than_one_statement_can_drop(postgres: Installation) {
    for kind in ALL {
        let (bed, account) = with_very_much(postgres.clone(), kind, true).await;
        ends_in_rounds(&bed, &account).await;
        assert_eq!(bed.ask("SELECT count(*)::text FROM pg_largeobject_metadata").await.unwrap(), "0", "{kind:?}");
        assert_eq!(bed.ask("SELECT count(*)::text FROM pg_proc WHERE proname ~ '^f[0-9]+$'").await.unwrap(), "0");
    }
}
