//! What is SQLite's own: the file and its lock, the writer's groups, what an index must answer.

mod file;
mod indexes;
mod writer;

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use leasehold_sdk::clock;
use sqlx::SqliteConnection;

use super::super::conformance::{self, AtOpen};
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let open = async |name: &str| reopen(&dir.path().join(name).join("store.db")).await;
    conformance::run(open, AtOpen::Freed).await;
}

fn opener() -> Opener {
    Opener { cluster: "test".parse().unwrap(), broker: "b1".to_owned() }
}

async fn open(path: &Path) -> Result<Sqlite, StoreError> {
    Sqlite::open(path, &opener(), &Limits::default(), Arc::default()).await
}

/// Opens the store in `path`, waiting for whoever had it before to let go.
async fn reopen(path: &Path) -> Sqlite {
    let deadline = clock::boot() + Duration::from_secs(20);
    loop {
        match open(path).await {
            Err(StoreError::NotOurs(_)) if clock::boot() < deadline => {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            opened => return opened.unwrap(),
        }
    }
}

/// A statement of a test's own, made by the writer.
struct Raw(&'static str);

#[async_trait]
impl Op for Raw {
    type Answer = ();

    async fn apply(&self, db: &mut SqliteConnection) -> Result<(), StoreError> {
        sqlx::query(self.0).execute(db).await.map_err(failed)?;
        Ok(())
    }
}
