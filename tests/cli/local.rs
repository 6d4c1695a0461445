//! What needs no broker: usage, `identity`, `completions`; and the environment that the other commands need.

use std::process::Output;

use tokio::process::Command;

use super::{failed, json, printed, said};
use crate::rig::SOON;

async fn alone(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold"));
    for name in [
        "LEASEHOLD_ADDR",
        "LEASEHOLD_CERT",
        "LEASEHOLD_KEY",
        "LEASEHOLD_BUNDLE",
        "LEASEHOLD_BROKER_ID",
        "LEASEHOLD_CONFIG",
    ] {
        command.env_remove(name);
    }
    command.args(arguments).envs(environment.iter().copied()).stdin(std::process::Stdio::null());
    tokio::time::timeout(SOON, command.output()).await.expect("it ends").expect("it starts")
}

#[tokio::test]
async fn wrong_usage_ends_with_2_and_says_what_is_missing() {
    for wrong in [
        &["nonsense"][..],
        &[],
        &["get", "r", "--nonsense"],
        &["lease"],
        &["identity", "issue"],
        &["completions", "tcsh2"],
    ] {
        failed(&alone(wrong, &[]).await, 2);
    }
    let commands =
        [&["get", "r"][..], &["lease", "list"], &["role", "list"], &["reconcile"], &["target", "forget", "t", "--yes"]];
    for command in commands {
        assert!(failed(&alone(command, &[]).await, 2).contains("LEASEHOLD_ADDR"), "{command:?}");
    }
    let addr = ("LEASEHOLD_ADDR", "https://127.0.0.1:1");
    assert!(failed(&alone(&["role", "list"], &[addr]).await, 2).contains("LEASEHOLD_CERT"));
    let missing =
        [addr, ("LEASEHOLD_CERT", "/nowhere/a"), ("LEASEHOLD_KEY", "/nowhere/b"), ("LEASEHOLD_BUNDLE", "/nowhere/c")];
    assert!(failed(&alone(&["role", "list"], &missing).await, 2).contains("/nowhere/"));
    for good in [&["--help"][..], &["--version"], &["lease", "revoke", "--help"]] {
        assert!(printed(&alone(good, &[]).await).contains("leasehold"));
    }
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let ca = dir.path().join("ca");
    let ca_arg = ca.to_str().expect("text");
    printed(&alone(&["identity", "issue", "spiffe://dev.local/billing", "--ca", ca_arg], &[]).await);
    let file = |name: &str| ca.join(name).to_str().expect("text").to_owned();
    let (cert, key, bundle) = (file("billing.pem"), file("billing-key.pem"), file("ca.pem"));
    let mut environment = [
        ("LEASEHOLD_ADDR", "https://127.0.0.1:1"),
        ("LEASEHOLD_CERT", &cert),
        ("LEASEHOLD_KEY", &key),
        ("LEASEHOLD_BUNDLE", &bundle),
    ];
    let why = failed(&alone(&["role", "list"], &environment).await, 1);
    assert!(why.contains("127.0.0.1:1"), "{why}");
    environment[0].1 = "http://127.0.0.1:1";
    assert!(failed(&alone(&["role", "list"], &environment).await, 2).contains("https://"));
    environment[0].1 = "https://127.0.0.1:1";
    // Each of the three files: not there, and not what it should be.
    let wrong = file("wrong");
    std::fs::write(&wrong, "nothing of use").expect("a file");
    for (at, path) in (1..4).flat_map(|at| [(at, "/nowhere/at-all"), (at, wrong.as_str())]) {
        let mut environment = environment;
        environment[at].1 = path;
        let why = failed(&alone(&["role", "list"], &environment).await, 2);
        assert!(why.contains(path), "{why}");
    }
}

#[tokio::test]
async fn development_svids_are_issued_and_looked_into() {
    let dir = tempfile::tempdir().expect("a directory");
    let (ca, out) = (dir.path().join("ca"), dir.path().join("out"));
    let (ca, out) = (ca.to_str().expect("text"), out.to_str().expect("text"));
    let arguments = [
        "identity",
        "issue",
        "spiffe://dev.local/ns/a/sa/b",
        "--ca",
        ca,
        "--out",
        out,
        "--name",
        "svid",
        "--ttl",
        "1h",
    ];
    let issued = json(&alone(&[&arguments[..], &["--output", "json"]].concat(), &[]).await);
    assert_eq!(issued["spiffe_id"], "spiffe://dev.local/ns/a/sa/b");
    let cert = issued["cert"].as_str().expect("a file");
    let key = std::fs::metadata(issued["key"].as_str().expect("a file")).expect("it is there");
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o777, 0o600);
    let looked = json(&alone(&["identity", "inspect", cert, "--output", "json"], &[]).await);
    assert_eq!(looked[0]["spiffe_id"], "spiffe://dev.local/ns/a/sa/b");
    assert_eq!(looked[0]["violations"], serde_json::json!([]));
    assert!(printed(&alone(&["identity", "inspect", cert], &[]).await).contains("keeps them"));
    let bundle = issued["bundle"].as_str().expect("a file");
    assert!(printed(&alone(&["identity", "inspect", bundle], &[]).await).contains("an authority"));

    let other = ["identity", "issue", "spiffe://other.example/x", "--ca", ca];
    assert!(failed(&alone(&other, &[]).await, 1).contains("dev.local"));
    failed(&alone(&["identity", "issue", "dev.local/x", "--ca", ca], &[]).await, 2);
    failed(&alone(&["identity", "inspect", "/nowhere"], &[]).await, 1);
    failed(&alone(&["identity", "inspect", issued["key"].as_str().expect("a file")], &[]).await, 1);
}

#[tokio::test]
async fn completions_are_good_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let output = alone(&["completions", shell], &[]).await;
        let script = printed(&output);
        for word in ["reconcile", "completions", "--dry-run"] {
            assert!(script.contains(word.trim_start_matches('-')), "{shell} knows {word}");
        }
        // Of the three, `sh -n`'s cousin bash is what a machine with tests has.
        if shell == "bash" {
            let checked = Command::new("bash").args(["-n", "-c", &script]).output().await.expect("bash");
            assert!(checked.status.success(), "{}", said(&checked));
        }
    }
}
