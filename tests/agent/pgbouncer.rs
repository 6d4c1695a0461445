//! A PgBouncer that logs in by the agent's file, and is told on its console.

use std::os::unix::fs::PermissionsExt;

use leasehold_testkit::{CONSOLE, LOGIN, PgBouncer, wait_until};
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Row};
use tokio::sync::Mutex;

use super::process::AgentProcess;
use super::running::{lease, login, stage};
use crate::stage::{BILLING, SOON, end};

fn config(agent: &AgentProcess) -> String {
    let owner = PgBouncer::runs_as().map(|user| format!("owner = \"{}:{}\"", user.uid, user.gid)).unwrap_or_default();
    let console = PgBouncer::console(&agent.path("bouncer"));
    std::fs::write(agent.path("console.password"), CONSOLE.1).expect("write the password");
    format!(
        "[credentials.orders]\nrole = \"orders-write\"\nrevoke_on_exit = true\nconsumers = [\"bouncer\"]\n\
         [[credentials.orders.files]]\npath = \"DIR/secrets/databases.ini\"\nformat = \"pgbouncer\"\n{owner}\n\
         [[credentials.orders.on_change]]\npgbouncer = \"{console}\"\npassword = {{ file = \"DIR/console.password\" }}\n\
         acks = \"bouncer\"\n"
    )
}

/// By the simple protocol: what is prepared in one session is not there in the next.
async fn user(connection: &mut PgConnection) -> String {
    let row = sqlx::raw_sql("SELECT current_user::text").fetch_one(connection).await.expect("an answer");
    row.try_get_unchecked(0).expect("a name")
}

/// Whoever is in a transaction is waited for; then nobody logs in by the old one, and it is ended before its time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_changes_over_behind_its_clients_and_only_then_counts_as_changed() {
    let stage = stage("ttl = \"30s\"\nmax_ttl = \"30s\"\noverlap = \"10s\"").await;
    let broker = stage.broker().await;
    let mut agent = AgentProcess::idle();
    std::fs::set_permissions(agent.dir.path(), PermissionsExt::from_mode(0o711)).expect("let PgBouncer in");
    agent.configure(&broker.url(), &stage.ca.svid(BILLING), &config(&agent));
    agent.launch().await;
    let first = agent.first("orders").await;
    let told = async || agent.status("orders").await.last_error.is_some_and(|why| why.contains("PgBouncer's console"));
    wait_until(SOON, "its complaint that there is no PgBouncer", told).await;

    let bouncer = PgBouncer::start(&agent.path("bouncer"), &agent.path("secrets/databases.ini")).await;
    let acknowledged = async |generation: u64| agent.status("orders").await.acknowledged["bouncer"] == generation;
    wait_until(SOON, "the first to be acknowledged", || acknowledged(1)).await;
    let open = async || PgConnection::connect_with(&bouncer.options(LOGIN, "orders")).await.expect("a login");
    let (mut busy, idle) = (open().await, Mutex::new(open().await));
    sqlx::raw_sql("BEGIN").execute(&mut busy).await.expect("begin");
    assert_eq!(user(&mut busy).await, login(&first).username);
    assert_eq!(user(&mut *idle.lock().await).await, login(&first).username);

    let second = agent.after("orders", 1).await;
    wait_until(SOON, "a login by the second", || async {
        user(&mut *idle.lock().await).await == login(&second).username
    })
    .await;
    assert_eq!(user(&mut busy).await, login(&first).username, "nobody was disturbed");
    assert!(acknowledged(1).await, "one is still in use");
    sqlx::raw_sql("COMMIT").execute(&mut busy).await.expect("commit");
    wait_until(SOON, "the second to be acknowledged", || acknowledged(2)).await;
    let over = stage.over(&broker, &lease(&first).id).await;
    assert_eq!(end(&over), ("revoked", Some("caller")), "before its time");
    assert_eq!(user(&mut busy).await, login(&second).username);
    assert!(!bouncer.log().contains("ERROR"), "{}", bouncer.log());

    assert!(agent.terminate().await.success());
    stage.quiet(&broker).await;
}
