//! Leases, one at a time and in lists.

use std::collections::BTreeMap;

use async_trait::async_trait;
use leasehold_sdk::{LeaseId, Receipt, Timestamp};
use sqlx::SqliteConnection;

use super::super::{Filter, Inserted, Leases, Live, NewLease, Row, StoreError, Visible};
use super::Sqlite;
use super::changes::{Activate, Announce, End, Renew};
use super::outcome::failed;
use super::query;
use super::records::{Adopt, CloseUnmade, Insert};
use super::rows;
use crate::domain::lease::{EndedBy, Lease};

#[async_trait]
impl Leases for Sqlite {
    async fn insert(&self, new: NewLease) -> Result<Inserted, StoreError> {
        let plan = json(&new.plan)?;
        self.write(Insert { new, plan }).await
    }

    async fn activate(&self, id: LeaseId, receipt: Receipt) -> Result<bool, StoreError> {
        let receipt = json(&receipt)?;
        self.write(Activate { id, receipt }).await
    }

    async fn announce_renewal(
        &self,
        id: LeaseId,
        now: Timestamp,
        worst_case_until: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        self.write(Announce { id, now, worst_case_until }).await
    }

    async fn renew(&self, id: LeaseId, expires_at: Timestamp) -> Result<Option<Lease>, StoreError> {
        self.write(Renew { id, expires_at }).await
    }

    async fn end(&self, id: LeaseId, by: EndedBy, now: Timestamp) -> Result<Option<Row>, StoreError> {
        self.write(End { id, by, now }).await
    }

    async fn close_unmade(&self, id: LeaseId, now: Timestamp) -> Result<(), StoreError> {
        self.write(CloseUnmade { id, now }).await
    }

    async fn adopt(&self, lease: NewLease) -> Result<(), StoreError> {
        let plan = json(&lease.plan)?;
        self.write(Adopt { new: lease, plan }).await
    }

    async fn get(&self, id: LeaseId) -> Result<Option<Row>, StoreError> {
        let mut db = self.reader().await?;
        row(&mut db, id).await
    }

    async fn list(
        &self,
        visible: &Visible,
        filter: &Filter,
        before: Option<LeaseId>,
        limit: usize,
    ) -> Result<Vec<Lease>, StoreError> {
        let mut db = self.reader().await?;
        // Each part of what is visible is walked by an index of its own, newest first; none needs more than `limit`.
        let mut newest = BTreeMap::new();
        for part in visible.parts(filter) {
            for row in query::list(&part, before, limit).build().fetch_all(&mut *db).await.map_err(failed)? {
                let lease = rows::lease(&row)?;
                newest.insert(lease.id, lease);
            }
        }
        Ok(newest.into_values().rev().take(limit).collect())
    }

    async fn count_live(&self, filter: &Filter) -> Result<u64, StoreError> {
        let mut db = self.reader().await?;
        query::count_live(filter).build_query_scalar().fetch_one(&mut *db).await.map_err(failed)
    }

    async fn live_of_target(
        &self,
        target: &str,
        after: Option<LeaseId>,
        limit: usize,
    ) -> Result<Vec<Live>, StoreError> {
        let mut db = self.reader().await?;
        let found = sqlx::query(LIVE_OF_TARGET)
            .bind(target)
            .bind(after.map_or_else(String::new, |id| id.to_string()))
            .bind(bound(limit))
            .fetch_all(&mut *db)
            .await
            .map_err(failed)?;
        found.iter().map(rows::live).collect()
    }
}

pub(super) const LIVE_OF_TARGET: &str = "SELECT id, state, worst_case_until FROM leases INDEXED BY leases_live_of_target \
    WHERE target = ?1 AND ended_at IS NULL AND id > ?2 ORDER BY id LIMIT ?3";

/// The row of `id`.
pub(super) async fn row(db: &mut SqliteConnection, id: LeaseId) -> Result<Option<Row>, StoreError> {
    let found = sqlx::query(concat!("SELECT ", rows::row_columns!(), " FROM leases WHERE id = ?1"))
        .bind(id.to_string())
        .fetch_optional(db)
        .await
        .map_err(failed)?;
    found.as_ref().map(rows::whole).transpose()
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|e| StoreError::Damaged(format!("a plan or receipt is not JSON: {e}")))
}

/// A limit as SQLite takes it.
pub(super) fn bound(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
