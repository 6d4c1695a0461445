//! The command line, as people and scripts use it: the real program against a real broker, other programs with what it prints.

mod credentials;
mod leases;
mod local;
mod operator;

use std::path::PathBuf;
use std::process::Output;

use serde_json::Value;

use crate::rig::Rig;

/// What a command printed.
#[track_caller]
fn printed(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", said(output));
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// What it printed as JSON.
#[track_caller]
fn json(output: &Output) -> Value {
    let text = printed(output);
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("no JSON ({e}): {text}"))
}

/// Everything it said, for people.
fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Demands this exit code, and answers what was said on standard error.
#[track_caller]
fn failed(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{}", said(output));
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!why.trim().is_empty(), "it says why");
    why
}

/// The `psql` of the database server's own version.
fn psql(rig: &Rig) -> PathBuf {
    rig.ground.pg.server().installation().bin_dir().join("psql")
}
