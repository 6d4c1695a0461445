//! What `make demo` runs.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// It is some ten seconds on an idle machine.
const DONE_WITHIN: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_story_goes_as_told_and_nothing_is_left_behind() {
    let dir = tempfile::tempdir().expect("a directory");
    // Its server runs as another user where the tests are root's.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(dir.path(), mode).expect("a directory for every user");
    let mut demo = Command::new(env!("CARGO_BIN_EXE_leasehold"));
    demo.args(["dev", "--demo"]).env("TMPDIR", dir.path()).stdin(Stdio::null()).kill_on_drop(true);
    let out = tokio::time::timeout(DONE_WITHIN, demo.output()).await.expect("an end").expect("it runs");
    let told = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{told}\n{}", String::from_utf8_lossy(&out.stderr));
    for step in
        ["fetches a credential", "logs in with it", "is refused", "the open session dies", "The next login fails"]
    {
        assert!(told.contains(step), "{step:?} is missing from:\n{told}");
    }
    assert!(told.contains("went as told"), "{told}");
    let left: Vec<_> = std::fs::read_dir(dir.path()).expect("a directory").flatten().map(|e| e.path()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}
