//! What `make demo` runs.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use leasehold_testkit::wait_until;
use tempfile::TempDir;
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
