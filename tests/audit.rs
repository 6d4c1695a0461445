//! The audit log of real brokers, and what `audit verify` finds in it.

mod collectors;
mod verify;

use std::path::Path;
use std::process::Output;

use serde_json::Value;
use tokio::process::Command;

use crate::stage::SOON;

/// `leasehold audit` with these arguments.
async fn audit(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold"));
    command.env_remove("LEASEHOLD_CONFIG").arg("audit").args(arguments).stdin(std::process::Stdio::null());
    tokio::time::timeout(SOON, command.output()).await.expect("it ends").expect("it starts")
}

/// What it prints, where it must succeed.
async fn good(arguments: &[&str]) -> String {
    let output = audit(arguments).await;
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// What it says, where it must fail.
async fn bad(arguments: &[&str]) -> String {
    let output = audit(arguments).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}{}", String::from_utf8_lossy(&output.stdout));
    said
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("the log");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}
