//! A look into the database beside the brokers that work on it.

use leasehold_sdk::ClusterName;
use sqlx::{ConnectOptions, PgConnection};

use super::super::{AuditHead, SealedRow, StoreError, rows};
use super::link::Link;
use super::outcome::failed;

/// The audit chains that the store of `cluster` knows of, and where they end.
///
/// # Errors
/// [`StoreError::Unavailable`] when it cannot be read, [`StoreError::NotOurs`] when it is another cluster's.
pub async fn audit_heads(link: &Link, cluster: &ClusterName) -> Result<Vec<(String, AuditHead)>, StoreError> {
    let mut db = look(link, cluster).await?;
    let rows: Vec<(String, i64, String)> = sqlx::query_as("SELECT chain, seq, hash FROM audit_heads ORDER BY chain")
        .fetch_all(&mut db)
        .await
        .map_err(failed)?;
    Ok(rows.into_iter().map(|(chain, seq, hash)| (chain, AuditHead { seq: seq.unsigned_abs(), hash })).collect())
}

/// What is sealed in it.
///
/// # Errors
/// As [`audit_heads`].
pub async fn sealed(link: &Link, cluster: &ClusterName) -> Result<Vec<SealedRow>, StoreError> {
    let mut db = look(link, cluster).await?;
    sqlx::query(super::sealed::ALL).fetch_all(&mut db).await.map_err(failed)?.iter().map(rows::sealed).collect()
}

async fn look(link: &Link, cluster: &ClusterName) -> Result<PgConnection, StoreError> {
    let mut db = link.options()?.connect().await.map_err(failed)?;
    let owner: String = sqlx::query_scalar("SELECT cluster FROM store").fetch_one(&mut db).await.map_err(failed)?;
    if owner != cluster.as_str() {
        return Err(StoreError::NotOurs(format!("it belongs to cluster {owner:?}, not {:?}", cluster.as_str())));
    }
    Ok(db)
}
