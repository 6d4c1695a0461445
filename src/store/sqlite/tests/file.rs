//! Whose file it is, and who may have it open.

use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use super::super::super::{Facts, SCHEMA_VERSION};
use super::*;

fn refusal(opened: Result<Sqlite, StoreError>) -> String {
    match opened {
        Err(StoreError::NotOurs(why)) => why,
        Err(other) => panic!("refused for another reason: {other}"),
        Ok(_) => panic!("it was opened"),
    }
}

#[tokio::test]
async fn only_its_owner_can_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/deep/store.db");
    let store = open(&path).await.unwrap();
    store.probe().await.unwrap();
    let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(mode(&entry.path()), 0o600, "{:?}", entry.path());
        names.insert(entry.file_name().into_string().unwrap());
    }
    assert_eq!(Vec::from_iter(names), ["store.db", "store.db-shm", "store.db-wal", "store.db.lock"]);
}

#[tokio::test]
async fn one_broker_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let store = open(&path).await.unwrap();
    let why = refusal(open(&path).await);
    assert!(why.contains("store.db") && why.contains("another broker"), "{why}");
    store.close().await;
    open(&path).await.unwrap().close().await;
}

#[tokio::test]
async fn a_lock_of_another_process_ends_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let script = "exec 9>\"$0\"; flock 9; echo held; exec sleep 600";
    let mut holder = Command::new("sh");
    holder.args(["-c", script]).arg(dir.path().join("store.db.lock")).stdout(Stdio::piped());
    let mut holder = holder.spawn().unwrap();
    holder.stdout.as_mut().unwrap().read_exact(&mut [0; 5]).unwrap();
    refusal(open(&path).await);
    // Killed outright, as by the kernel's out-of-memory killer: nothing is left to clean up.
    holder.kill().unwrap();
    holder.wait().unwrap();
    open(&path).await.unwrap();
}

#[tokio::test]
async fn another_clusters_store_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    open(&path).await.unwrap().close().await;
    let other = Opener { cluster: "other".parse().unwrap(), ..opener() };
    let why = refusal(Sqlite::open(&path, &other, &Limits::default(), Arc::default()).await);
    assert!(why.contains("\"test\"") && why.contains("\"other\""), "{why}");
    open(&path).await.unwrap();
}

#[tokio::test]
async fn a_store_of_more_than_one_version_ahead_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let store = open(&path).await.unwrap();
    let step = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                VALUES (9999, 'later', true, x'00', 1)";
    store.write(Raw(step)).await.unwrap();
    store.write(Raw("UPDATE store SET schema_version = schema_version + 1")).await.unwrap();
    store.close().await;
    let store = open(&path).await.unwrap();
    assert_eq!(
        store.standing().await.unwrap().schema_version,
        SCHEMA_VERSION + 1,
        "one version of overlap, and it stays"
    );
    store.write(Raw("UPDATE store SET schema_version = schema_version + 1")).await.unwrap();
    store.close().await;
    let why = refusal(open(&path).await);
    assert!(why.contains(&format!("version {}, newer", SCHEMA_VERSION + 2)), "{why}");
}

#[tokio::test]
async fn what_is_no_database_is_damaged_and_what_cannot_be_made_is_unavailable() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    std::fs::write(&path, "this is a text, and has been one for longer than a header is".repeat(99)).unwrap();
    assert!(matches!(open(&path).await, Err(StoreError::Damaged(_))));
    let under_a_file = path.join("store.db");
    match open(&under_a_file).await {
        Err(StoreError::Unavailable(why)) => assert!(why.contains("store.db"), "{why}"),
        other => panic!("{:?}", other.err()),
    }
}

/// Names and columns of the tables that a schema makes.
fn tables(sql: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut table = None;
    let sql = sql.replace("IF NOT EXISTS ", "");
    for line in sql.lines().filter(|line| !line.trim_start().starts_with("--")) {
        if let Some(name) = line.strip_prefix("CREATE TABLE ") {
            table = name.split(' ').next();
        } else if line.starts_with(')') {
            table = None;
        } else if let (Some(table), Some(column)) = (table, line.split_whitespace().next()) {
            found.insert(format!("{table}.{column}"));
        } else if let Some(index) = line.strip_prefix("CREATE INDEX ") {
            // SQLite's carry one more column, so that it need not look into the row.
            found.insert(index.replace(", ended_at)", ")"));
        }
    }
    found
}

#[test]
fn both_schemas_are_the_same() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let names = |kind: &str| {
        let dir = std::fs::read_dir(root.join(kind)).unwrap();
        dir.map(|e| e.unwrap().file_name().into_string().unwrap()).collect::<BTreeSet<_>>()
    };
    assert_eq!(names("sqlite"), names("postgres"));
    let all = |kind: &str| -> BTreeSet<String> {
        let text = |name: &String| std::fs::read_to_string(root.join(kind).join(name)).unwrap();
        names(kind).iter().flat_map(|name| tables(&text(name))).collect()
    };
    let postgres = all("postgres");
    assert!(postgres.contains("leases.wake_at"));
    assert_eq!(all("sqlite"), postgres);
}
