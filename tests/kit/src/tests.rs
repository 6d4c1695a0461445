//! The kit against itself: a test that relies on it must not be fooled by it.

mod anywhere;
mod aws;

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    Broker, BrokerOptions, ConfigFile, Flow, Installation, PgFixture, PgOptions, Proxy, Session, Svid, TestCa,
    both_versions, database_tls, unique,
};

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
async fn a_server_demands_a_client_certificate_of_the_trust_domain() {
    let ca = TestCa::new("dev.local");
    let (tls, ca_pem) = database_tls(Some(ca.bundle_pem()));
    let only_with = "hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-ca";
    let pg = PgFixture::own(PgOptions::default().without_fsync().tls(tls).hba(only_with)).await;
    let (svid, foreign) = (ca.svid("/billing"), TestCa::new("dev.local").svid("/billing"));
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("database-ca.pem");
    std::fs::write(&root, ca_pem).unwrap();
    let url = |svid: &Svid| {
        let (root, cert, key) = (root.display(), svid.cert.display(), svid.key.display());
        let more = format!("sslmode=verify-full&sslrootcert={root}&sslcert={cert}&sslkey={key}");
        format!("{}?{more}", pg.superuser_url())
    };
    assert_eq!(pg.server().psql_as(&url(&svid), "SELECT 1").await.unwrap(), "1");
    let error = pg.server().psql_as(&url(&foreign), "SELECT 1").await.unwrap_err().to_string();
    assert!(error.contains("certificate") || error.contains("unknown ca"), "{error}");
    pg.try_login("postgres", pg.server().superuser_password()).await.err().expect("no certificate, no login");
}

/// Plays a broker well enough to test who runs it: listens nowhere, so it is never ready.
const NEVER_READY: &str = "#!/bin/sh\necho \"started with $*\" >&2\nexec sleep 600\n";

fn program(dir: &std::path::Path, text: &str) -> BrokerOptions {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.join("program");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let config = ConfigFile::new(dir, "kit", "dev.local").write();
    BrokerOptions { timeout: Duration::from_secs(1), ..BrokerOptions::new(path, config) }
}

#[tokio::test]
async fn a_broker_that_is_never_ready_is_an_error_with_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let error = Broker::start(program(dir.path(), NEVER_READY)).await.err().expect("not ready").to_string();
    assert!(error.contains("was not ready") && error.contains("started with serve --config"), "{error}");
}

#[tokio::test]
async fn a_broker_that_refuses_its_configuration_is_told_by_status_and_log() {
    let dir = tempfile::tempdir().unwrap();
    let options = program(dir.path(), "#!/bin/sh\necho no >&2\nexit 1\n");
    let (status, logs) = Broker::start_refused(options.clone()).await.unwrap();
    assert_eq!((status.code(), logs.as_str()), (Some(1), "no\n"));
    let error = Broker::start(options).await.err().expect("it ended").to_string();
    assert!(error.contains("ended at once"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_is_ready_when_its_ops_listener_says_so_and_obeys_signals() {
    let dir = tempfile::tempdir().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ops = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nleasehold_leases{state=\"active\"} 3\n").await;
        }
    });
    let text = format!(
        "#!/bin/sh\ncat > {}/addresses.json <<.\n{{\"api\":\"127.0.0.1:1\",\"public\":\"127.0.0.1:2\",\"ops\":\"{ops}\"}}\n.\nexec sleep 600\n",
        dir.path().display()
    );
    let options = BrokerOptions { timeout: SOON, ..program(dir.path(), &text) };
    let mut broker = Broker::start(options).await.unwrap();
    assert_eq!(broker.url(), "https://127.0.0.1:1");
    assert_eq!(broker.metric("leasehold_leases{state=\"active\"}").await.unwrap(), 3.0);
    assert_eq!(broker.terminate().await.unwrap().signal(), Some(15));
    assert!(broker.pid().is_none());
    broker.restart().await.unwrap();
    assert_eq!(broker.kill().await.unwrap().signal(), Some(9));
}
