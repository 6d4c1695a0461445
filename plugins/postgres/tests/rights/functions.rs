//! `admin = "functions"`: a login without any right makes and ends accounts, and can do nothing else, even when stolen.

use std::time::Duration;

use leasehold_sdk::{Credential, Ending, Level, RevokeOrder, RoleSettings, clock};
use leasehold_testkit::{Admin, Installation, PgFixture, Session, unique};
use secrecy::ExposeSecret;
use serde_json::json;

use super::support::{Bench, find, superuser, troubles};

leasehold_testkit::each_version! {
    a_login_without_rights_mints_and_revokes,
    a_stolen_login_can_do_nothing_else,
    an_account_that_holds_the_lock_of_another_mint_is_ended,
    check_tells_what_is_not_installed_and_what_is_not_as_configured,
    names_full_of_quotes_install,
}

const VERIFIER: &str = "SCRAM-SHA-256$1:c2FsdHNhbHRzYWx0c2FsdA==$EhCa7xbJrZ8WwYlHlgEXCe42D4hkGa9dvJr3w5Gd5+k=:\
                        EhCa7xbJrZ8WwYlHlgEXCe42D4hkGa9dvJr3w5Gd5+k=";

/// A login without rights, the functions in a schema of their own (tests share no database, but be sure), one role.
async fn installed(pg: &PgFixture) -> (Bench, Admin, RoleSettings, String) {
    let login = pg.login("lh_functions", "").await;
    let (group, owner) = (pg.reader_group().await, pg.writer_group().await);
    let bench = Bench::new(&login, json!({"admin": "functions"}));
    let role = bench.role(json!({
        "member_of": [group], "set_role": owner, "search_path": ["public", "A b"], "settings": {"statement_timeout": "7s"},
    }));
    let sql = bench.install_sql(&role);
    superuser(pg, &sql).await;
    superuser(pg, &sql).await;
    (bench, login, role, group)
}

async fn a_login_without_rights_mints_and_revokes(postgres: Installation) {
    let pg = PgFixture::shared(postgres).await;
    let (bench, _, role, _) = installed(&pg).await;
    superuser(&pg, "REVOKE CREATE ON SCHEMA public FROM PUBLIC").await;
    let found = bench.check(&role).await;
    assert!(troubles(&found).is_empty(), "{found:#?}");

    let (plan, minted) = bench.mint(&role).await;
    let Credential::Database(login) = &minted.credential else { panic!("no database credential") };
    let mut session = pg.session(&login.username, login.password.expose_secret()).await;
    for (what, is) in [("search_path", "public, \"A b\""), ("statement_timeout", "7s")] {
        assert_eq!(session.text(&format!("SHOW {what}")).await.unwrap().as_deref(), Some(is));
    }
    assert!(session.text("SELECT CURRENT_USER").await.unwrap().unwrap().starts_with("orders_writer"));
    // What it leaves behind in its own name, and a transaction that outlives its session.
    session.execute("SET ROLE NONE; CREATE TABLE public.left_behind (id int)").await.unwrap();
    let gid = unique("gid");
    session
        .execute(&format!("BEGIN; CREATE TABLE public.prepared (id int); PREPARE TRANSACTION '{gid}'"))
        .await
        .unwrap();

    bench.revoke(plan, &minted).await;
    session.wait_until_dead(Duration::from_secs(20)).await;
    pg.assert_refused(&login.username, login.password.expose_secret()).await;
    assert!(pg.roles_with_prefix(&login.username).await.is_empty());
    let owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'left_behind'";
    let owner = pg.superuser().await.text(owner).await.unwrap();
    assert_eq!(owner, Some(format!("lh_{}_estate", bench.cluster)));
}

async fn an_account_that_holds_the_lock_of_another_mint_is_ended(postgres: Installation) {
    let pg = PgFixture::shared(postgres).await;
    let (bench, _, role, _) = installed(&pg).await;
    let (hostile, minted) = bench.mint(&role).await;
    let Credential::Database(login) = &minted.credential else { panic!("no database credential") };
    let mut session = pg.session(&login.username, login.password.expose_secret()).await;
    let never = bench.plan(&role).await;
    session.execute(&format!("SELECT pg_advisory_lock({})", never.account.lease().lock_key())).await.unwrap();

    let order = RevokeOrder::now(never, None, clock::wall().minus(Duration::from_secs(1)));
    assert_eq!(bench.engine.revoke(&[order]).await, [Ok(Ending::Dead)]);
    session.wait_until_dead(Duration::from_secs(20)).await;
    bench.revoke(hostile, &minted).await;
}

async fn refusal(session: &mut Session, sql: &str) -> String {
    match session.execute(sql).await {
        Err(e) => e.to_string(),
        Ok(()) => panic!("allowed: {sql}"),
    }
}

async fn a_stolen_login_can_do_nothing_else(postgres: Installation) {
    let pg = PgFixture::shared(postgres).await;
    let (bench, login, _, group) = installed(&pg).await;
    let mut thief = pg.session(&login.name, &login.password).await;
    let ours = format!("lh_{}_abcd_0123456789abcdefghijklmnop", bench.cluster);
    let mint = |name: &str, groups: &str, settings: &str, deadline: &str| {
        format!(
            "SELECT leasehold.mint('{name}', 1, clock_timestamp() + interval '{deadline}', '{VERIFIER}', now() + interval '1h', \
             5, ARRAY[{groups}]::text[], ARRAY[{settings}]::text[])"
        )
    };
    let group = format!("'{group}'");
    for (sql, why) in [
        ("CREATE ROLE x".to_owned(), "permission denied"),
        (mint("postgres", &group, "", "9s"), "is no account of this cluster"),
        (mint("lh_other_abcd_0123456789abcdefghijklmnop", &group, "", "9s"), "is no account of this cluster"),
        (mint(&format!("{ours}; x"), &group, "", "9s"), "is no account of this cluster"),
        (mint(&ours, "'postgres'", "", "9s"), "not every group"),
        (mint(&ours, &format!("{group}, 'pg_read_all_data'"), "", "9s"), "not every group"),
        (mint(&ours, "NULL", "", "9s"), "not every group"),
        (mint(&ours, &group, "'log_statement=none'", "9s"), "is not on the list"),
        (mint(&ours, &group, "'role=postgres'", "9s"), "is not on the list"),
        (mint(&ours, &group, "", "-1s"), "the deadline of this mint has passed"),
        (mint(&ours, &group, "", "9s").replace(VERIFIER, "secret"), "SCRAM-SHA-256 verifier"),
        (mint(&ours, &group, "", "9s").replace("now() + interval '1h'", "'infinity'"), "must have an end"),
        ("SELECT leasehold.renew('postgres', now())".into(), "is no account of this cluster"),
        ("SELECT leasehold.fence(ARRAY['postgres'])".into(), "is no account of this cluster"),
        ("SELECT leasehold.disown('postgres', NULL, false)".into(), "is no account of this cluster"),
        ("SELECT leasehold.drop_accounts(ARRAY['postgres'])".into(), "is no account of this cluster"),
        ("SELECT leasehold.borrow('postgres')".into(), "is no account of this cluster"),
        (format!("SELECT leasehold.disown('{ours}', 'postgres', false)"), "is not on the list"),
        ("CREATE FUNCTION leasehold.x() RETURNS int LANGUAGE sql AS 'SELECT 1'".into(), "permission denied"),
    ] {
        let said = refusal(&mut thief, &sql).await;
        assert!(said.contains(why), "{sql}: {said}");
    }
    // Sessions of others are passed over; those of a role that is gone may be ended by anybody's account of ours.
    let mut other = pg.superuser().await;
    assert_eq!(
        thief.text("SELECT leasehold.terminate(ARRAY['postgres'], ARRAY[10]::oid[])").await.unwrap().as_deref(),
        Some("0")
    );
    assert!(other.is_alive().await);
    let key = i64::from_be_bytes([0xff, 1, 2, 3, 0xfe, 5, 6, 7]);
    other.execute(&format!("SELECT pg_advisory_lock({key})")).await.unwrap();
    assert_eq!(thief.text(&format!("SELECT leasehold.unlock('{key}')")).await.unwrap().as_deref(), Some("0"));
    assert!(other.is_alive().await);
    // Somebody else may not call them at all.
    let stranger = pg.login("stranger", "").await;
    let mut stranger = pg.session(&stranger.name, &stranger.password).await;
    let said = refusal(&mut stranger, "SELECT leasehold.version()").await;
    assert!(said.contains("permission denied"), "{said}");
    assert!(pg.roles_with_prefix(&ours).await.is_empty());
}

async fn check_tells_what_is_not_installed_and_what_is_not_as_configured(postgres: Installation) {
    let pg = PgFixture::shared(postgres).await;
    let fresh = Bench::new(&pg.login("lh_functions", "CREATEROLE").await, json!({"admin": "functions"}));
    let found = fresh.check(&fresh.role(json!({"member_of": [pg.reader_group().await]}))).await;
    let missing = find(&found, "lacks the functions").expect("a finding");
    assert!(missing.fix.as_ref().unwrap().contains("leasehold check --install-sql"), "{missing:?}");
    let spare = find(&found, "CREATEROLE").expect("CREATEROLE is not needed");
    superuser(&pg, spare.fix.as_ref().unwrap()).await;

    let (bench, login, role, group) = installed(&pg).await;
    let wider = bench.role(json!({"member_of": [group, pg.writer_group().await], "settings": {"work_mem": "4MB"}}));
    let found = bench.check(&wider).await;
    for part in ["group", "setting \"work_mem\""] {
        assert!(
            find(&found, part).is_some_and(|f| f.what.as_str().contains("not on the functions' list")),
            "{found:#?}"
        );
    }
    let other = Bench::new(&login, json!({"admin": "functions"}));
    assert!(find(&other.check(&role).await, "not for ours").is_some());
    superuser(&pg, "GRANT EXECUTE ON FUNCTION leasehold.version() TO PUBLIC").await;
    let found = bench.check(&role).await;
    let open = find(&found, "everybody may call").expect("a finding");
    superuser(&pg, open.fix.as_ref().unwrap()).await;
    assert!(find(&bench.check(&role).await, "everybody may call").is_none());
    // An earlier run by somebody who is no superuser any more, for a login that is no longer ours: a new run mends it.
    let former = unique("former");
    superuser(
        &pg,
        &format!(
            "CREATE ROLE {former}; ALTER FUNCTION leasehold.fence(text[]) OWNER TO {former}; \
             GRANT EXECUTE ON FUNCTION leasehold.fence(text[]) TO {}",
            pg.login("former", "").await.name
        ),
    )
    .await;
    let found = bench.check(&role).await;
    assert!(
        find(&found, "does not belong to a superuser").is_some() && find(&found, "\"leasehold\" too").is_some(),
        "{found:#?}"
    );
    superuser(&pg, &bench.install_sql(&wider)).await;
    let found = bench.check(&wider).await;
    assert!(found.iter().all(|f| f.level != Level::Error), "{found:#?}");
}

async fn names_full_of_quotes_install(postgres: Installation) {
    let pg = PgFixture::shared(postgres).await;
    let login = pg.login("lh_functions", "").await;
    let bench = Bench::new(&login, json!({"admin": "functions", "functions_schema": "it's \"{{schema}}\" $lh$"}));
    let group = unique("g'\\ \"$lh$ {{x}} \n--");
    superuser(&pg, &format!("CREATE ROLE \"{}\" NOLOGIN", group.replace('"', "\"\""))).await;
    let role = bench.role(json!({"member_of": [group], "settings": {"app.tenant": "a'\\b=c"}}));
    superuser(&pg, &bench.install_sql(&role)).await;
    let (plan, minted) = bench.mint(&role).await;
    let Credential::Database(login) = &minted.credential else { panic!("no database credential") };
    let mut session = pg.session(&login.username, login.password.expose_secret()).await;
    assert_eq!(session.text("SHOW app.tenant").await.unwrap().as_deref(), Some("a'\\b=c"));
    let member = format!("SELECT pg_has_role('{}', 'USAGE')", group.replace('\'', "''"));
    assert_eq!(session.text(&format!("SELECT ({member})::text")).await.unwrap().as_deref(), Some("true"));
    bench.revoke(plan, &minted).await;
}
