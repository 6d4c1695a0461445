//! What is SQLite's own: the file, its lock, the writer's groups, and indexes.

use std::path::Path;
use std::time::Duration;

use leasehold_sdk::clock;

use super::super::conformance;
use super::*;

fn cluster() -> ClusterName {
    "test".parse().unwrap()
}

/// Opens the store in `path`, waiting for the one before to let go.
async fn reopen(path: &Path) -> Sqlite {
    let deadline = clock::boot() + Duration::from_secs(20);
    loop {
        match Sqlite::open(path, &cluster(), &Limits::default()).await {
            Err(StoreError::NotOurs(_)) if clock::boot() < deadline => {
                tokio::time::sleep(Duration::from_millis(5)).await
            }
            opened => return opened.unwrap(),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_conforms() {
    let dir = tempfile::tempdir().unwrap();
    conformance::run(async |name: &str| reopen(&dir.path().join(name).join("store.db")).await).await;
}
