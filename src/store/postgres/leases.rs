//! Leases, one at a time and in lists.

use std::collections::BTreeMap;

use async_trait::async_trait;
use leasehold_sdk::{LeaseId, Receipt, Timestamp};
use sqlx::PgConnection;

use super::super::{Filter, Inserted, Leases, Live, NewLease, Row, StoreError, Visible};
use super::Postgres;
use super::outcome::failed;
use super::{changes, query, records, rows};
use crate::domain::lease::{EndedBy, Lease};

#[async_trait]
impl Leases for Postgres {
    async fn insert(&self, new: NewLease) -> Result<Inserted, StoreError> {
        self.within(async { records::insert(&mut *self.db().await?, &new).await }).await
    }

    async fn activate(&self, id: LeaseId, receipt: Receipt) -> Result<bool, StoreError> {
        self.within(async { changes::activate(&mut *self.db().await?, id, &receipt).await }).await
    }

    async fn announce_renewal(
        &self,
        id: LeaseId,
        now: Timestamp,
        worst_case_until: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        self.within(async { changes::announce(&mut *self.db().await?, id, now, worst_case_until).await }).await
    }

    async fn renew(&self, id: LeaseId, expires_at: Timestamp) -> Result<Option<Lease>, StoreError> {
        self.within(async { changes::renew(&mut *self.db().await?, id, expires_at).await }).await
    }

    async fn end(&self, id: LeaseId, by: EndedBy, now: Timestamp) -> Result<Option<Row>, StoreError> {
        self.within(async { changes::end(&mut *self.db().await?, &self.broker, id, by, now).await }).await
    }

    async fn close_unmade(&self, id: LeaseId, now: Timestamp) -> Result<(), StoreError> {
        self.within(async { changes::close_unmade(&mut *self.db().await?, &self.broker, id, now).await }).await
    }

    async fn adopt(&self, lease: NewLease) -> Result<(), StoreError> {
        self.within(async { records::adopt(&mut *self.db().await?, &lease).await }).await
    }

    async fn get(&self, id: LeaseId) -> Result<Option<Row>, StoreError> {
        self.within(async { row(&mut *self.db().await?, id).await }).await
    }

    async fn list(
        &self,
        visible: &Visible,
        filter: &Filter,
        before: Option<LeaseId>,
        limit: usize,
    ) -> Result<Vec<Lease>, StoreError> {
        self.within(async {
            let mut db = self.db().await?;
            // Each part of what is visible is walked by an index of its own, newest first; none needs more than `limit`.
            let mut newest = BTreeMap::new();
            for part in visible.parts(filter) {
                for row in query::list(&part, before, limit).build().fetch_all(&mut *db).await.map_err(failed)? {
                    let lease = rows::lease(&row)?;
                    newest.insert(lease.id, lease);
                }
            }
            Ok(newest.into_values().rev().take(limit).collect())
        })
        .await
    }

    async fn count_live(&self, filter: &Filter) -> Result<u64, StoreError> {
        self.within(async { query::count(&mut *self.db().await?, query::count_live(filter)).await }).await
    }

    async fn live_of_target(
        &self,
        target: &str,
        after: Option<LeaseId>,
        limit: usize,
    ) -> Result<Vec<Live>, StoreError> {
        self.within(async {
            let found = sqlx::query(LIVE_OF_TARGET)
                .bind(target)
                .bind(after.map_or_else(String::new, |id| id.to_string()))
                .bind(bound(limit))
                .fetch_all(&mut *self.db().await?)
                .await
                .map_err(failed)?;
            found.iter().map(rows::live).collect()
        })
        .await
    }
}

pub(super) const LIVE_OF_TARGET: &str = "SELECT id, state, worst_case_until FROM leases WHERE target = $1 AND ended_at IS NULL AND id > $2 ORDER BY id LIMIT $3";

/// The row of `id`.
pub(super) async fn row(db: &mut PgConnection, id: LeaseId) -> Result<Option<Row>, StoreError> {
    let found = sqlx::query(concat!("SELECT ", rows::row_columns!(), " FROM leases WHERE id = $1"))
        .bind(id.to_string())
        .fetch_optional(db)
        .await
        .map_err(failed)?;
    found.as_ref().map(rows::whole).transpose()
}

/// A limit as PostgreSQL takes it.
pub(super) fn bound(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// A plan or receipt as its column holds it.
pub(super) fn json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|e| StoreError::Damaged(format!("a plan or receipt is not JSON: {e}")))
}
