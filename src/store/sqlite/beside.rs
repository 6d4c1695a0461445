//! A look into the file beside the broker that has it open.

use std::path::Path;

use leasehold_sdk::{ClusterName, Finding, Level, Reason};
use sqlx::{ConnectOptions, SqliteConnection};

use super::super::{AuditHead, SealedRow, StoreError, overlaps, rows};
use super::file;
use super::outcome::failed;

/// The audit chains that a store of `cluster` knows of, and where they end. Takes no lock and changes nothing, so that an
/// operator can verify the log of a running broker.
///
/// # Errors
/// [`StoreError::Unavailable`] when the file is not there or cannot be read, [`StoreError::NotOurs`] when it is another
/// cluster's.
pub async fn audit_heads(path: &Path, cluster: &ClusterName) -> Result<Vec<(String, AuditHead)>, StoreError> {
    let mut db = look(path, cluster).await?;
    let rows: Vec<(String, u64, String)> = sqlx::query_as("SELECT chain, seq, hash FROM audit_heads ORDER BY chain")
        .fetch_all(&mut db)
        .await
        .map_err(failed)?;
    Ok(rows.into_iter().map(|(chain, seq, hash)| (chain, AuditHead { seq, hash })).collect())
}

/// What is sealed in it.
///
/// # Errors
/// As [`audit_heads`].
pub async fn sealed(path: &Path, cluster: &ClusterName) -> Result<Vec<SealedRow>, StoreError> {
    let mut db = look(path, cluster).await?;
    sqlx::query(super::sealed::ALL).fetch_all(&mut db).await.map_err(failed)?.iter().map(rows::sealed).collect()
}

/// What keeps a broker from working with it. Changes nothing.
///
/// # Errors
/// As [`audit_heads`].
pub async fn examine(path: &Path, cluster: &ClusterName) -> Result<Vec<Finding>, StoreError> {
    let what = if path.exists() {
        look(path, cluster).await?;
        "the file holds the store"
    } else {
        "there is no file yet: the broker makes it"
    };
    Ok(vec![Finding { level: Level::Good, role: None, what: Reason::new(what), fix: None }])
}

async fn look(path: &Path, cluster: &ClusterName) -> Result<SqliteConnection, StoreError> {
    let mut db = file::options(path).read_only(true).connect().await.map_err(failed)?;
    let (owner, version): (String, i64) =
        sqlx::query_as("SELECT cluster, schema_version FROM store").fetch_one(&mut db).await.map_err(failed)?;
    if owner != cluster.as_str() {
        return Err(StoreError::NotOurs(format!("it belongs to cluster {owner:?}, not {:?}", cluster.as_str())));
    }
    overlaps(version)?;
    Ok(db)
}

#[cfg(test)]
mod tests {
    use super::super::Sqlite;
    use super::*;
    use crate::limits::Limits;
    use crate::store::{Facts, Opener};

    #[tokio::test]
    async fn heads_are_read_beside_a_broker_and_without_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("leasehold.db");
        let cluster: ClusterName = "test".parse().unwrap();
        assert!(audit_heads(&path, &cluster).await.is_err());
        let opener = Opener { cluster: cluster.clone(), broker: "b1".to_owned() };
        let store = Sqlite::open(&path, &opener, &Limits::default(), std::sync::Arc::default()).await.unwrap();
        let head = AuditHead { seq: 7, hash: "ab".into() };
        store.keep_audit_head("test-x", &head).await.unwrap();
        let heads = vec![("test-x".to_owned(), head)];
        assert_eq!(audit_heads(&path, &cluster).await.unwrap(), heads);
        assert!(audit_heads(&path, &"other".parse().unwrap()).await.is_err());
        store.close().await;
        drop(store);
        assert_eq!(audit_heads(&path, &cluster).await.unwrap(), heads);
    }
}
