//! The admin's own sessions: pinned, named, few, and as the target's settings demand.

use leasehold_sdk::EngineError;
use leasehold_testkit::Installation;
use serde_json::json;

use crate::bed::{Bed, Kind, soon};

leasehold_testkit::each_version! {
    hostile_defaults_never_win,
    no_password_reaches_the_server,
    connections_stay_within_their_number,
    names_full_of_quotes,
    bad_roles_are_refused_by_the_server_with_a_reason,
    a_renewal_moves_the_expiry,
    an_answer_that_is_too_large_is_not_kept,
}

/// What a session of ours has, told by a creation statement that it runs.
async fn hostile_defaults_never_win(postgres: Installation) {
    let bed = Bed::new(postgres, Kind::Createrole).await;
    let db = bed.pg.database();
    bed.run("CREATE TABLE public.seen (name text, value text); GRANT ALL ON public.seen TO PUBLIC").await;
    let mut defaults = vec![
        ("search_path", "public"),
        ("default_transaction_read_only", "on"),
        ("default_transaction_isolation", "serializable"),
        ("default_transaction_deferrable", "on"),
        ("statement_timeout", "7"),
        ("lock_timeout", "7"),
        ("idle_in_transaction_session_timeout", "7"),
        ("standard_conforming_strings", "off"),
        ("synchronous_commit", "off"),
        ("transform_null_equals", "on"),
        ("quote_all_identifiers", "on"),
        ("client_min_messages", "debug5"),
        ("application_name", "somebody"),
        ("bytea_output", "escape"),
        ("jit", "on"),
    ];
    if bed.version() >= 14 {
        defaults.extend([("idle_session_timeout", "7"), ("client_connection_check_interval", "7")]);
    }
    if bed.version() >= 16 {
        defaults.push(("createrole_self_grant", "set, inherit"));
    }
    if bed.version() >= 17 {
        defaults.push(("transaction_timeout", "7"));
    }
    for (name, value) in &defaults {
        // The admin's defaults in this database are the strongest that there are.
        bed.run(&format!("ALTER ROLE {} IN DATABASE {db} SET {name} = '{value}'", bed.admin.name)).await;
    }
    let fresh = bed.again().await;
    let note = "INSERT INTO public.seen SELECT s.name, s.setting FROM pg_catalog.pg_settings AS s";
    let account = fresh.mint(&fresh.role(json!({"creation_statements": [note]}))).await;
    for (name, value) in &defaults {
        let seen = bed.ask(&format!("SELECT value FROM public.seen WHERE name = '{name}'")).await.unwrap();
        assert_ne!(&seen, value, "{name} is as the hostile default has it");
    }
    let seen = bed.ask("SELECT value FROM public.seen WHERE name = 'application_name'").await.unwrap();
    assert_eq!(seen, format!("leasehold/{}/test", bed.mark.cluster));
    fresh.assert_ends(&account).await;
}

async fn no_password_reaches_the_server(postgres: Installation) {
    let options = leasehold_testkit::PgOptions::on(postgres).log_statements().without_fsync();
    let bed = Bed::on(leasehold_testkit::PgFixture::own(options).await, Kind::Superuser, json!({})).await;
    let role = bed
        .role(json!({"creation_statements": ["ALTER ROLE {{name}} PASSWORD {{verifier}} VALID UNTIL {{expires_at}}"]}));
    let account = bed.mint(&role).await;
    drop(bed.login(&account).await);
    bed.assert_ends(&account).await;
    let log = std::fs::read_to_string(bed.pg.server().log_path()).unwrap();
    assert!(log.contains(&account.name), "statements are logged");
    assert!(!log.contains(&account.password), "the password stands in the log");
}

async fn connections_stay_within_their_number(postgres: Installation) {
    let bed =
        Bed::on(leasehold_testkit::PgFixture::shared(postgres).await, Kind::Superuser, json!({"connections": 2})).await;
    let role = bed.role(json!({}));
    let plans: Vec<_> = (0..40).map(|_| bed.plan(&role, &[])).collect();
    let mints = plans.iter().map(|p| bed.mint_plan(p));
    let minted: Vec<_> = futures_util::future::join_all(mints).await.into_iter().map(Result::unwrap).collect();
    let count = format!("SELECT count(*)::text FROM pg_stat_activity WHERE usename = '{}'", bed.admin.name);
    let count: u32 = bed.ask(&count).await.unwrap().parse().unwrap();
    // Two for mints, one to end accounts with, one for the rest, and the one of last resort with its successor.
    assert!(count <= 6, "{count} connections");
    for (plan, m) in plans.into_iter().zip(minted) {
        bed.revoke(&crate::bed::account(plan, m)).await.unwrap();
    }
}

async fn names_full_of_quotes(postgres: Installation) {
    for kind in [Kind::Superuser, Kind::Createrole, Kind::Functions] {
        let bed = Bed::new(postgres.clone(), kind).await;
        let group = leasehold_testkit::unique("gr\"ou'p\\ ü;--");
        let quoted = format!("\"{}\"", group.replace('"', "\"\""));
        bed.run(&format!("CREATE ROLE {quoted}; GRANT {quoted} TO {} WITH ADMIN OPTION", bed.admin.name)).await;
        let database = leasehold_testkit::unique("d'b \"x\"");
        bed.run(&format!("CREATE DATABASE \"{}\"", database.replace('"', "\"\""))).await;
        let settings = json!({
            "member_of": [group], "database": database, "search_path": ["a\"b", "c, d", "$user"],
            "settings": {"application_name": "it's \\ \"me\""},
        });
        bed.install(settings.as_object().unwrap().clone().into_iter().collect()).await;
        let account = bed.mint(&bed.role(settings)).await;
        let said = bed.pg.server().psql_as(&account.url, "SELECT current_database(); SHOW search_path");
        let said = said.await.unwrap_or_else(|e| panic!("{e:#}"));
        assert!(said.contains(&database) && said.contains("\"a\"\"b\", \"c, d\", \"$user\""), "{said}");
        bed.assert_ends(&account).await;
    }
}

async fn bad_roles_are_refused_by_the_server_with_a_reason(postgres: Installation) {
    let bed = Bed::new(postgres, Kind::Superuser).await;
    for (more, why) in [
        (json!({"member_of": ["no_such_group"]}), "no_such_group"),
        (json!({"settings": {"no.such": "x", "nonsense": "1"}}), "nonsense"),
        (json!({"creation_statements": ["SELECT 1/0"]}), "division by zero"),
        (json!({"creation_statements": ["SELECT public.nothing({{name}})"]}), "column"),
    ] {
        let plan = bed.plan(&bed.role(more), &[]);
        let answer = bed.mint_plan(&plan).await;
        let Err(EngineError::Refused { why: said }) = &answer else { panic!("{answer:?}") };
        assert!(said.as_str().contains(why), "{said}");
        assert!(bed.pg.roles_with_prefix(&plan.account.to_string()).await.is_empty());
    }
}

async fn a_renewal_moves_the_expiry(postgres: Installation) {
    for kind in [Kind::Superuser, Kind::Createrole, Kind::Functions] {
        let bed = Bed::new(postgres.clone(), kind).await;
        let account = bed.mint(&bed.role(json!({}))).await;
        let until = soon(7 * 3600);
        let order = leasehold_sdk::RenewOrder {
            plan: account.plan.clone(),
            receipt: account.receipt.clone(),
            expires_at: until,
        };
        bed.engine.renew(&[order]).await.remove(0).unwrap();
        let sql = format!("SELECT (rolvaliduntil = '{until}')::text FROM pg_roles WHERE rolname = '{}'", account.name);
        assert_eq!(bed.ask(&sql).await.unwrap(), "true");
        bed.assert_ends(&account).await;
    }
}

async fn an_answer_that_is_too_large_is_not_kept(postgres: Installation) {
    let bed = Bed::new(postgres, Kind::Superuser).await;
    for (flood, why) in [
        ("SELECT pg_catalog.generate_series(1, 200000)", "more than 100000 rows"),
        ("SELECT pg_catalog.repeat('x', 1000000) FROM pg_catalog.generate_series(1, 100)", "more than 67108864 bytes"),
    ] {
        let plan = bed.plan(&bed.role(json!({"creation_statements": [flood]})), &[]);
        let answer = bed.mint_plan(&plan).await;
        let Err(EngineError::Unknown { why: said }) = &answer else { panic!("{answer:?}") };
        assert!(said.as_str().contains(why), "{said}");
        // The session went with it: the next ones are whole. Nobody reads these rows, so that they stop nothing.
        let another = bed.mint(&bed.role(json!({"revocation_statements": [flood]}))).await;
        bed.assert_ends(&another).await;
    }
}
