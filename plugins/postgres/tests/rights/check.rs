//! Every missing right is named, with the SQL that grants it: the test runs that SQL, and the finding must be gone.

use std::time::Duration;

use leasehold_sdk::{Credential, Finding, Level};
use leasehold_testkit::{Installation, PgFixture, Session, unique};
use secrecy::ExposeSecret;
use serde_json::json;

use super::support::{Bench, find, superuser, troubles};

leasehold_testkit::each_version! {
    every_missing_right_has_sql_that_grants_it,
    a_careful_admin_is_told_nothing_but_the_rule_for_passwords,
    a_superuser_is_told_that_it_is_too_much,
    many_accounts_of_a_createrole_admin_are_warned_of,
    a_login_without_rights_may_not_use_what_is_missing,
}

async fn every_missing_right_has_sql_that_grants_it(postgres: Installation) {
    let pg = PgFixture::shared(postgres).await;
    let new_rules = pg.server().version_major() >= 16;
    let mut admin = pg.login("bare", "NOINHERIT").await;
    superuser(
        &pg,
        &format!(
            "ALTER ROLE {0} RENAME TO \"{0} \"\"o'ne\"; ALTER ROLE \"{0} \"\"o'ne\" PASSWORD '{1}'",
            admin.name, admin.password
        ),
    )
    .await;
    admin.url = admin.url.replace('@', "%20%22o'ne@");
    let (group, receiver, closed) = (pg.reader_group().await, unique("a \"receiver"), unique("closed \"db"));
    let bench = Bench::new(&admin, json!({}));
    let cluster = &bench.cluster;
    superuser(&pg, &format!("CREATE DATABASE \"{}\"", closed.replace('"', "\"\""))).await;
    superuser(
        &pg,
        &format!(
            "CREATE ROLE \"{}\" NOLOGIN; CREATE ROLE \"lh_{cluster}\" NOLOGIN; CREATE ROLE \"lh_{cluster}_estate\" NOLOGIN; \
             REVOKE CONNECT ON DATABASE \"{}\" FROM PUBLIC; GRANT CREATE ON SCHEMA public TO PUBLIC",
            receiver.replace('"', "\"\""),
            closed.replace('"', "\"\"")
        ),
    )
    .await;
    let elsewhere = unique("elsewhere");
    superuser(&pg, &format!("CREATE DATABASE {elsewhere}")).await;
    let sql =
        format!("REVOKE CONNECT ON DATABASE {elsewhere} FROM PUBLIC; GRANT CONNECT ON DATABASE {elsewhere} TO {group}");
    superuser(&pg, &sql).await;
    let role = bench.role(json!({"member_of": [group], "reassign_to": receiver, "database": closed}));

    let mut found = bench.check(&role).await;
    let mut expected = vec![
        "CREATEROLE",
        "NOINHERIT",
        "pg_signal_backend",
        "may not connect to \"closed",
        "may not connect to \"elsewhere",
        "accounts of this role may not",
        "schema public",
    ];
    if new_rules {
        expected.extend(["hand objects over", "may not grant \"orders_reader", "_estate\": it lacks ADMIN"]);
    }
    for part in expected {
        assert!(find(&found, part).is_some(), "nothing about {part:?} in {found:#?}");
    }
    // A right that was granted may bring to light the next one.
    for _ in 0..3 {
        for fix in troubles(&found).iter().map(|f| f.fix.clone().unwrap_or_else(|| panic!("no fix for {f:?}"))) {
            superuser(&pg, &fix).await;
        }
        let next = bench.check(&role).await;
        for old in troubles(&found) {
            assert!(find(&next, old.what.as_str()).is_none(), "{old:?} is still there");
        }
        found = next;
    }
    assert!(troubles(&found).is_empty(), "{:#?}", troubles(&found));
    // And the rights suffice, for an account that leaves things of all kinds behind.
    superuser(&pg, &format!("GRANT CREATE ON DATABASE {} TO {group}", quoted(&closed))).await;
    let (plan, minted) = bench.mint(&role).await;
    let Credential::Database(login) = &minted.credential else { panic!("no database credential") };
    let options = pg.options(&login.username, login.password.expose_secret()).database(&closed);
    let mut session = Session::open(&options).await.expect("the account logs in");
    let leave = "CREATE SCHEMA mine; CREATE TABLE mine.t (id int); CREATE TYPE mine.e AS ENUM ('a'); \
                 CREATE FUNCTION mine.f() RETURNS int LANGUAGE sql AS 'SELECT 1'";
    session.execute(leave).await.unwrap();
    bench.revoke(plan, &minted).await;
    session.wait_until_dead(Duration::from_secs(20)).await;
    let mut root =
        Session::open(&pg.options("postgres", pg.server().superuser_password()).database(&closed)).await.unwrap();
    let owners = "SELECT string_agg(DISTINCT pg_get_userbyid(o), ',') FROM (SELECT relowner FROM pg_class WHERE relname = 't' \
                  UNION SELECT proowner FROM pg_proc WHERE proname = 'f' UNION SELECT nspowner FROM pg_namespace \
                  WHERE nspname = 'mine' UNION SELECT typowner FROM pg_type WHERE typname = 'e') AS x(o)";
    assert_eq!(root.text(owners).await.unwrap(), Some(receiver));
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

async fn a_careful_admin_is_told_nothing_but_the_rule_for_passwords(postgres: Installation) {
    let pg = PgFixture::shared(postgres).await;
    let group = pg.reader_group().await;
    let admin = pg.admin(&[&group]).await;
    superuser(&pg, "REVOKE CREATE ON SCHEMA public FROM PUBLIC").await;
    let bench = Bench::new(&admin, json!({}));
    let role = bench.role(json!({"member_of": [group]}));
    let (plan, minted) = bench.mint(&role).await;
    bench.revoke(plan, &minted).await;
    let found = bench.check(&role).await;
    assert!(troubles(&found).is_empty(), "{found:#?}");
    let rule = format!("hostssl all +lh_{} all scram-sha-256 clientcert=verify-ca", bench.cluster);
    assert!(found.iter().any(|f: &Finding| f.fix.as_ref().is_some_and(|fix| fix.contains(&rule))), "{found:#?}");
    // But for what the server lets accounts do.
    let prepared = find(&found, "may prepare transactions").expect("the server that tests share has it on");
    assert!(prepared.level == Level::Warning && prepared.what.as_str().contains("VALID UNTIL"), "{prepared:?}");
}

async fn a_superuser_is_told_that_it_is_too_much(postgres: Installation) {
    let pg = PgFixture::shared(postgres).await;
    let group = pg.reader_group().await;
    let bench = Bench::new(&pg.superuser_admin().await, json!({}));
    let found = bench.check(&bench.role(json!({"member_of": [group]}))).await;
    assert_eq!(find(&found, "is a superuser").map(|f| f.level), Some(Level::Warning), "{found:#?}");
    assert!(found.iter().all(|f| f.level != Level::Error), "{found:#?}");
}

async fn many_accounts_of_a_createrole_admin_are_warned_of(postgres: Installation) {
    let pg = PgFixture::shared(postgres).await;
    let group = pg.reader_group().await;
    let bench = Bench::new(&pg.admin(&[&group]).await, json!({}));
    let role = bench.role(json!({"member_of": [group]}));
    let (plan, minted) = bench.mint(&role).await;
    let cluster = &bench.cluster;
    let many = format!(
        "DO $$ BEGIN FOR i IN 1..500 LOOP EXECUTE format('CREATE ROLE %I IN ROLE %I', 'live_{cluster}_' || i, 'lh_{cluster}'); \
         END LOOP; END $$"
    );
    superuser(&pg, &many).await;
    let warned = find(&bench.check(&role).await, "501 accounts").is_some();
    assert_eq!(warned, pg.server().version_major() >= 16);
    let clean = format!(
        "DO $$ BEGIN FOR i IN 1..500 LOOP EXECUTE format('DROP ROLE %I', 'live_{cluster}_' || i); END LOOP; END $$"
    );
    superuser(&pg, &clean).await;
    bench.revoke(plan, &minted).await;
}

async fn a_login_without_rights_may_not_use_what_is_missing(postgres: Installation) {
    let pg = PgFixture::shared(postgres).await;
    let bench = Bench::new(&pg.login("bare", "").await, json!({}));
    let role = bench.role(json!({"member_of": ["not \"there"], "database": "no such"}));
    let found = bench.check(&role).await;
    for (part, fix) in
        [("no role \"not \\\"there\"", None), ("no database \"no such\"", Some("CREATE DATABASE \"no such\";"))]
    {
        let f = find(&found, part).unwrap_or_else(|| panic!("nothing about {part:?} in {found:#?}"));
        assert_eq!((f.level, f.fix.as_deref()), (Level::Error, fix));
    }
}
