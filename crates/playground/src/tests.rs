//! The whole crate against a real server.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use crate::process::{children, is_running, signal};
use crate::{PgOptions, PgServer};

/// Set in the copy of this program that is to be killed: where it writes what it started.
const VICTIM: &str = "LEASEHOLD_PLAYGROUND_VICTIM";

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "waited a minute in vain: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_lives_through_stop_kill_and_pause_and_leaves_nothing() {
    let server = PgServer::start(PgOptions::default().log_statements().conf("work_mem = '5MB'")).await.unwrap();
    let root = server.data_dir().parent().unwrap().to_owned();
    assert_eq!(server.psql("SELECT 6 * 7; SHOW work_mem").await.unwrap(), "42\n5MB");
    let log = std::fs::read_to_string(server.log_path()).unwrap();
    assert!(log.contains("SELECT 6 * 7"), "{log}");

    server.psql("CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)").await.unwrap();
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    assert_eq!(server.psql("SELECT count(*) FROM kept").await.unwrap(), "1");
    server.restart().await.unwrap();

    server.pause().unwrap();
    let asked = tokio::time::timeout(Duration::from_millis(500), server.psql("SELECT 1")).await;
    assert!(asked.is_err(), "a paused server must not answer");
    server.resume().unwrap();
    assert_eq!(server.psql("SELECT 1").await.unwrap(), "1");

    let pid = server.pid().unwrap();
    let family = children(pid);
    assert!(!family.is_empty());
    drop(server);
    assert!(!root.exists());
    until("its processes end", || !is_running(pid) && family.iter().all(|child| !is_running(*child))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_no_password_are_refused_over_tcp_and_socket() {
    let server = PgServer::start(PgOptions::default().without_fsync()).await.unwrap();
    let wrong = server.superuser_url("postgres").replace(server.superuser_password(), "wrong");
    let error = server.psql_as(&wrong, "SELECT 1").await.unwrap_err().to_string();
    assert!(error.contains("password authentication failed"), "{error}");
    let socket = format!("postgres://postgres@/postgres?host={}&port={}", server.socket_dir().display(), server.port());
    let error = server.psql_as(&socket, "SELECT 1").await.unwrap_err().to_string();
    assert!(error.contains("no password supplied"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_start_shows_its_log() {
    let started = PgServer::start(PgOptions::default().conf("shared_buffers = 'lots'")).await;
    let error = started.err().expect("it must not start").to_string();
    assert!(error.contains("shared_buffers"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_owner_leaves_nothing() {
    if let Some(report) = std::env::var_os(VICTIM) {
        let server = PgServer::start(PgOptions::default()).await.unwrap();
        let text = format!("{}\n{}\n", server.pid().unwrap(), server.data_dir().parent().unwrap().display());
        let report = PathBuf::from(report);
        std::fs::write(report.with_extension("part"), text).unwrap();
        std::fs::rename(report.with_extension("part"), report).unwrap();
        std::future::pending::<()>().await;
    }
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("report");
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::a_killed_owner_leaves_nothing"])
        .env(VICTIM, &report)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until("the other process starts its server", || report.exists()).await;
    let text = std::fs::read_to_string(&report).unwrap();
    let (pid, root) = text.trim().split_once('\n').unwrap();
    let (pid, root): (u32, PathBuf) = (pid.parse().unwrap(), root.into());
    assert!(is_running(pid) && root.exists());
    signal(victim.id(), Signal::KILL).unwrap();
    victim.wait().unwrap();
    until("the guardian cleans up", || !is_running(pid) && !root.exists()).await;
}
