//! What exists in a target against what the store knows: strays, accounts that vanished, rows that somebody edited, a store
//! that is an older copy of itself.

mod backup;
mod edited;
mod restored;
mod strays;
mod takeover;

use leasehold_testkit::{Broker, Session};
use serde_json::Value;
use sqlx::{Connection, SqliteConnection};

use crate::stage::{OPERATOR, Stage};

/// `leasehold reconcile` with these flags: what it found in the one target there is.
async fn reconcile(stage: &Stage, broker: &Broker, flags: &[&str]) -> Value {
    let mut command = broker.command(&stage.svid(OPERATOR));
    let done = command.args(["reconcile", "--output", "json"]).args(flags).output().await.expect("run it");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let report: Value = serde_json::from_slice(&done.stdout).expect("JSON");
    let target = report["targets"][0].clone();
    assert_eq!(target["error"], Value::Null, "{report}");
    target
}

/// The strays of a report as (account, done), in order.
fn strays(report: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let mut all: Vec<_> = report["strays"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|stray| (text(&stray["account"]), text(&stray["done"])))
        .collect();
    all.sort();
    all
}

/// Makes a login under our mark by hand, as the broker's own admin would, and logs in with it.
async fn make(stage: &Stage, name: &str) -> Session {
    make_account(stage, name).await;
    stage.pg.session(name, "by hand").await
}

async fn make_account(stage: &Stage, name: &str) {
    let mut admin = stage.pg.session(&stage.admin.name, &stage.admin.password).await;
    let sql = format!("CREATE ROLE \"{name}\" LOGIN PASSWORD 'by hand' IN ROLE \"lh_{}\"", stage.cluster);
    admin.execute(&sql).await.expect("make an account by hand");
}

async fn exists(stage: &Stage, name: &str) -> bool {
    stage.pg.roles_with_prefix(name).await.iter().any(|role| role == name)
}

/// The store's own file, opened beside the broker, as an operator's `sqlite3` would.
async fn store(stage: &Stage) -> SqliteConnection {
    let path = stage.config.dir().join("leasehold.db");
    SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.expect("open the store")
}

/// The files of the store, whether there or not.
fn store_files(stage: &Stage) -> Vec<std::path::PathBuf> {
    ["leasehold.db", "leasehold.db-wal", "leasehold.db-shm"].map(|name| stage.config.dir().join(name)).into()
}
