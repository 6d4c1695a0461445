//! What `make demo` runs.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use leasehold_testkit::wait_until;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::Command;

/// It is some ten seconds on an idle machine.
const DONE_WITHIN: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_story_goes_as_told_and_nothing_is_left_behind() {
    let dir = place();
    let mut demo = dev(dir.path());
    demo.arg("--demo");
    let out = tokio::time::timeout(DONE_WITHIN, demo.output()).await.expect("an end").expect("it runs");
    let told = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{told}\n{}", String::from_utf8_lossy(&out.stderr));
    for step in
        ["fetches a credential", "logs in with it", "is refused", "the open session dies", "The next login fails"]
    {
        assert!(told.contains(step), "{step:?} is missing from:\n{told}");
    }
    assert!(told.contains("went as told"), "{told}");
    assert_eq!(left(dir.path()), 0);
}

/// Whoever closes the terminal, or ends it by its id, leaves no broker and no keys behind either.
#[tokio::test(flavor = "multi_thread")]
async fn a_playground_that_is_told_to_end_leaves_nothing_behind() {
    for signal in ["TERM", "HUP", "INT"] {
        let dir = place();
        let told = dir.path().join("told");
        let mut playground = dev(dir.path());
        playground.stdout(std::fs::File::create(&told).expect("a file"));
        let mut playground = playground.spawn().expect("it runs");
        wait_until(DONE_WITHIN, "the playground to be ready", || async {
            std::fs::read_to_string(&told).is_ok_and(|text| text.contains("Ctrl-C ends it all"))
        })
        .await;
        let pid = playground.id().expect("it runs").to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &pid]).status().await.expect("kill").success());
        let status = tokio::time::timeout(DONE_WITHIN, playground.wait()).await.expect("an end").expect("its status");
        assert!(status.success(), "{signal}: {status}");
        // A broker that lived on would have its files there.
        assert_eq!(left(dir.path()), 1, "{signal}: more than what it told");
    }
}

/// Nothing ends with it by itself: that its broker ends too takes somebody who holds on to both.
#[tokio::test(flavor = "multi_thread")]
async fn a_playground_that_is_killed_takes_its_broker_along() {
    let dir = place();
    let mut playground = dev(dir.path()).stdout(Stdio::null()).spawn().expect("it runs");
    wait_until(DONE_WITHIN, "the broker to be up", || async { api_of(dir.path()).is_some() }).await;
    let api = api_of(dir.path()).expect("its address");
    assert!(TcpStream::connect(&api).await.is_ok(), "it listens");
    playground.kill().await.expect("SIGKILL");
    wait_until(DONE_WITHIN, "the broker to be gone", || async { TcpStream::connect(&api).await.is_err() }).await;
}

/// Where the broker says that it listens, once it does.
fn api_of(dir: &Path) -> Option<String> {
    let said = |entry: std::fs::DirEntry| {
        let text = std::fs::read_to_string(entry.path().join("broker/addresses.json")).ok()?;
        let addresses: serde_json::Value = serde_json::from_str(&text).ok()?;
        Some(addresses["api"].as_str()?.to_owned())
    };
    std::fs::read_dir(dir).ok()?.filter_map(Result::ok).find_map(said)
}

/// A directory for its files, which its server may enter as another user.
fn place() -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(dir.path(), mode).expect("a directory for every user");
    dir
}

fn dev(dir: &Path) -> Command {
    let mut dev = Command::new(env!("CARGO_BIN_EXE_leasehold"));
    dev.arg("dev").env("TMPDIR", dir).stdin(Stdio::null()).kill_on_drop(true);
    dev
}

fn left(dir: &Path) -> usize {
    std::fs::read_dir(dir).expect("a directory").count()
}
