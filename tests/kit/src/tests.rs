//! The kit against itself: a test that relies on it must not be fooled by it.

use std::time::Duration;

use crate::{Flow, Installation, PgFixture, PgOptions, PgTls, Proxy, Session, both_versions, unique};

const SOON: Duration = Duration::from_secs(20);

crate::each_version! {
    a_fixture_has_roles_that_log_in_and_sessions_that_die,
    the_admin_makes_accounts_in_its_groups_and_no_more,
    a_lost_reply_leaves_the_statement_done,
    a_held_request_arrives_after_its_client_has_gone,
    flows_stall_and_go_on,
}

#[test]
fn the_second_server_has_the_new_rules() {
    let versions = both_versions();
    assert!(versions[1].major() >= 16, "{versions:?}");
    assert_ne!(versions[0].bin_dir(), versions[1].bin_dir());
}

async fn a_fixture_has_roles_that_log_in_and_sessions_that_die(postgres: Installation) {
    let pg = PgFixture::shared(postgres).await;
    let group = pg.reader_group().await;
    let reader = pg.login("reader", &format!("IN ROLE {group}")).await;
    let mut session = pg.session(&reader.name, &reader.password).await;
    assert_eq!(session.text("SELECT count(*) FROM public.orders").await.unwrap().as_deref(), Some("3"));
    pg.assert_refused(&reader.name, "wrong").await;

    pg.superuser().await.execute(&format!("ALTER ROLE {} NOLOGIN", reader.name)).await.unwrap();
    pg.wait_until_refused(&reader.name, &reader.password, SOON).await;
    assert!(session.is_alive().await, "NOLOGIN alone ends no session");
    let kill = format!("SELECT pg_terminate_backend({})", session.backend_pid());
    pg.superuser().await.execute(&kill).await.unwrap();
    session.wait_until_dead(SOON).await;
    assert_eq!(pg.roles_with_prefix(&reader.name).await, [reader.name]);
}

async fn the_admin_makes_accounts_in_its_groups_and_no_more(postgres: Installation) {
    let pg = PgFixture::shared(postgres).await;
    let (group, other) = (pg.reader_group().await, pg.writer_group().await);
    let admin = pg.admin(&[&group]).await;
    let mut session = pg.session(&admin.name, &admin.password).await;
    let account = unique("account");
    session.execute(&format!("CREATE ROLE {account} LOGIN PASSWORD 'x' IN ROLE {group}")).await.unwrap();
    if pg.server().version_major() >= 16 {
        let error = session.execute(&format!("GRANT {other} TO {account}")).await.unwrap_err().to_string();
        assert!(error.contains("permission denied"), "{error}");
    }
    session.execute(&format!("DROP ROLE {account}")).await.unwrap();
}

async fn a_lost_reply_leaves_the_statement_done(postgres: Installation) {
    let pg = PgFixture::shared(postgres).await;
    let proxy = Proxy::start(pg.server().port()).await;
    let options = pg.options("postgres", pg.server().superuser_password()).port(proxy.port());
    let options = options.ssl_mode(sqlx::postgres::PgSslMode::Disable);
    let role = unique("ambiguous");

    let mut session = Session::open(&options).await.unwrap();
    proxy.cut_before("CREATE ROLE");
    session.execute(&format!("CREATE ROLE {role}")).await.unwrap_err();
    assert!(pg.roles_with_prefix(&role).await.is_empty());

    let mut session = Session::open(&options).await.unwrap();
    proxy.cut_reply_to("CREATE ROLE");
    session.execute(&format!("CREATE ROLE {role}")).await.unwrap_err();
    assert_eq!(pg.roles_with_prefix(&role).await, [role]);
    assert_eq!(proxy.caught(), 2);
}

async fn a_held_request_arrives_after_its_client_has_gone(postgres: Installation) {
    let pg = PgFixture::shared(postgres).await;
    let proxy = Proxy::start(pg.server().port()).await;
    let options = pg.options("postgres", pg.server().superuser_password()).port(proxy.port());
    let mut session = Session::open(&options.ssl_mode(sqlx::postgres::PgSslMode::Disable)).await.unwrap();
    let role = unique("late");

    proxy.hold("CREATE ROLE");
    let create = format!("CREATE ROLE {role}");
    let asked = tokio::time::timeout(Duration::from_millis(200), session.execute(&create)).await;
    assert!(asked.is_err(), "a held request has no reply");
    proxy.wait_caught(1, SOON).await;
    drop(session);
    assert!(pg.roles_with_prefix(&role).await.is_empty());
    proxy.mend();
    crate::wait_until(SOON, "the late role", || async { !pg.roles_with_prefix(&role).await.is_empty() }).await;
}

async fn flows_stall_and_go_on(postgres: Installation) {
    let pg = PgFixture::shared(postgres).await;
    let proxy = Proxy::start(pg.server().port()).await;
    let options = pg.options("postgres", pg.server().superuser_password()).port(proxy.port());
    let mut session = Session::open(&options).await.unwrap();
    proxy.to_client(Flow::Stall);
    let mut query = Box::pin(session.execute("SELECT 1"));
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut query).await.is_err());
    proxy.mend();
    query.await.unwrap();
    proxy.to_server(Flow::Delay(Duration::from_millis(50)));
    assert!(session.is_alive().await);
    proxy.sever();
    assert!(!session.is_alive().await);
    assert!(Session::open(&options).await.is_err());
    proxy.mend();
    assert!(Session::open(&options).await.unwrap().is_alive().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_speaks_tls() {
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let tls = PgTls { cert_pem: cert.pem(), key_pem: key.serialize_pem(), client_ca_pem: Some(cert.pem()) };
    let pg = PgFixture::own(PgOptions::default().without_fsync().tls(tls)).await;
    let encrypted = pg.superuser().await.text("SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()").await;
    assert_eq!(encrypted.unwrap().as_deref(), Some("true"));
}
