//! How a lease on record changes, up to the order that it is to end.

use std::collections::HashSet;

use async_trait::async_trait;
use leasehold_sdk::{LeaseId, Timestamp};
use serde_json::json;
use sqlx::SqliteConnection;

use super::super::{Row, StoreError};
use super::leases::row;
use super::outcome::failed;
use super::rows;
use super::writer::Op;
use crate::domain::lease::{EndedBy, Lease};

pub(super) struct Activate {
    pub(super) id: LeaseId,
    pub(super) receipt: String,
}

#[async_trait]
impl Op for Activate {
    type Answer = bool;
    const ONE_STATEMENT: bool = true;

    async fn apply(&self, db: &mut SqliteConnection) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE leases SET state = 'active', receipt = ?2, due_at = expires_at, wake_at = expires_at \
             WHERE id = ?1 AND state = 'pending' \
             AND NOT EXISTS (SELECT 1 FROM blocks WHERE blocks.identity = leases.identity)",
        )
        .bind(self.id.to_string())
        .bind(&self.receipt)
        .execute(db)
        .await
        .map_err(failed)?;
        Ok(done.rows_affected() == 1)
    }

    async fn apply_all(ops: &[&Self], db: &mut SqliteConnection) -> Result<Vec<bool>, StoreError> {
        if let [one] = ops {
            return Ok(vec![one.apply(db).await?]);
        }
        let all: Vec<_> = ops.iter().map(|op| json!({ "id": op.id, "receipt": op.receipt })).collect();
        let done = sqlx::query_scalar(ACTIVATE_ALL).bind(json!(all).to_string()).fetch_all(db).await.map_err(failed)?;
        let done: HashSet<String> = done.into_iter().collect();
        Ok(ops.iter().map(|op| done.contains(&op.id.to_string())).collect())
    }
}

/// The plus keeps the index of the state out: each lease of the list is looked up by its id. OR FAIL as for inserts.
pub(super) const ACTIVATE_ALL: &str = "UPDATE OR FAIL leases SET state = 'active', receipt = made.value ->> 'receipt', due_at = expires_at, wake_at = expires_at \
    FROM json_each(?1) AS made WHERE leases.id = made.value ->> 'id' AND +leases.state = 'pending' AND NOT EXISTS (SELECT 1 FROM blocks WHERE blocks.identity = leases.identity) RETURNING leases.id";

pub(super) struct Announce {
    pub(super) id: LeaseId,
    pub(super) now: Timestamp,
    pub(super) worst_case_until: Option<Timestamp>,
}

#[async_trait]
impl Op for Announce {
    type Answer = bool;

    async fn apply(&self, db: &mut SqliteConnection) -> Result<bool, StoreError> {
        // SQLite's two-argument max() is null when either is: unbounded wins.
        let done = sqlx::query(
            "UPDATE leases SET worst_case_until = max(worst_case_until, ?3) \
             WHERE id = ?1 AND state = 'active' AND expires_at > ?2 \
             AND NOT EXISTS (SELECT 1 FROM blocks WHERE blocks.identity = leases.identity)",
        )
        .bind(self.id.to_string())
        .bind(self.now.unix_ms())
        .bind(self.worst_case_until.map(Timestamp::unix_ms))
        .execute(db)
        .await
        .map_err(failed)?;
        Ok(done.rows_affected() == 1)
    }
}

pub(super) struct Renew {
    pub(super) id: LeaseId,
    pub(super) expires_at: Timestamp,
}

#[async_trait]
impl Op for Renew {
    type Answer = Option<Lease>;

    async fn apply(&self, db: &mut SqliteConnection) -> Result<Option<Lease>, StoreError> {
        let renewed = sqlx::query(concat!(
            "UPDATE leases SET expires_at = max(expires_at, ?2), due_at = max(expires_at, ?2), \
             wake_at = max(expires_at, ?2), \
             worst_case_until = max(worst_case_until, ?2) WHERE id = ?1 AND state = 'active' RETURNING ",
            rows::lease_columns!()
        ))
        .bind(self.id.to_string())
        .bind(self.expires_at.unix_ms())
        .fetch_optional(db)
        .await
        .map_err(failed)?;
        renewed.as_ref().map(rows::lease).transpose()
    }
}

pub(super) struct End {
    pub(super) id: LeaseId,
    pub(super) by: EndedBy,
    pub(super) now: Timestamp,
}

#[async_trait]
impl Op for End {
    type Answer = Option<Row>;

    async fn apply(&self, db: &mut SqliteConnection) -> Result<Option<Row>, StoreError> {
        let ended = sqlx::query(concat!(
            "UPDATE leases SET state = 'revoking', ended_by = coalesce(ended_by, ?2), due_at = min(due_at, ?3), \
             wake_at = max(min(due_at, ?3), claimed_until), \
             moved_at = iif(state = 'revoking', moved_at, ?3) WHERE id = ?1 AND ended_at IS NULL RETURNING ",
            rows::row_columns!()
        ))
        .bind(self.id.to_string())
        .bind(self.by.as_str())
        .bind(self.now.unix_ms())
        .fetch_optional(&mut *db)
        .await
        .map_err(failed)?;
        match ended {
            Some(row) => rows::whole(&row).map(Some),
            None => row(db, self.id).await,
        }
    }
}
