//! Orders to end many leases, carried out step by step.

use async_trait::async_trait;
use leasehold_sdk::Timestamp;
use serde_json::json;
use sqlx::SqliteConnection;

use super::super::rows::Cells;
use super::super::{NewOrder, Order, OrderStep, Orders, StoreError};
use super::Sqlite;
use super::claims::Purge;
use super::leases::bound;
use super::outcome::failed;
use super::query;
use super::rows;
use super::writer::Op;
use crate::domain::lease::EndedBy;

#[async_trait]
impl Orders for Sqlite {
    async fn place_order(&self, order: &NewOrder) -> Result<u64, StoreError> {
        // Counted by a reader, so that the writer does not stand still meanwhile. What changes until the order is recorded
        // changes its `matched`, never which leases it ends.
        let matched = {
            let mut db = self.reader().await?;
            query::count_up_to(&order.filter, order.up_to)
                .build_query_scalar()
                .fetch_one(&mut *db)
                .await
                .map_err(failed)?
        };
        self.write(Place { order: order.clone(), matched }).await?;
        Ok(matched)
    }

    async fn carry_on(&self, now: Timestamp, leases_max: usize) -> Result<Option<OrderStep>, StoreError> {
        let Some((standing, after)) = self.next_order().await? else { return Ok(None) };
        let order = standing.order;
        // Found by a reader: the way may lead past many that have ended long ago.
        let ids: Vec<String> = {
            let mut db = self.reader().await?;
            let walk = query::walk(&order.filter, &after, order.up_to, leases_max);
            { walk }.build_query_scalar().fetch_all(&mut *db).await.map_err(failed)?
        };
        let finished = ids.len() < leases_max;
        let step = Step { order: order.id.clone(), by: order.by, after, ids, finished, now };
        let ended = self.write(step).await?;
        Ok(Some(OrderStep { order: order.id, ended, finished }))
    }

    async fn purge_orders(&self, finished_before: Timestamp, limit: usize) -> Result<u64, StoreError> {
        self.write(Purge { statement: PURGE_ORDERS, before: finished_before, limit }).await
    }

    async fn order(&self, id: &str) -> Result<Option<Order>, StoreError> {
        let mut db = self.reader().await?;
        let found = sqlx::query(ORDER).bind(id).fetch_optional(&mut *db).await.map_err(failed)?;
        let Some(mut order) = found.map(|row| rows::order(&row)).transpose()? else { return Ok(None) };
        order.left = left(&mut db, &order).await?;
        Ok(Some(order))
    }
}

pub(super) const PURGE_ORDERS: &str = "DELETE FROM orders WHERE rowid IN \
    (SELECT rowid FROM orders WHERE finished_at IS NOT NULL AND finished_at < ?1 ORDER BY finished_at LIMIT ?2 + 0)";

const ORDER: &str = "SELECT * FROM orders WHERE id = ?1";

/// The one that has come least far is next: a small one never waits for a large one.
pub(super) const NEXT_ORDER: &str = "SELECT * FROM orders WHERE finished_at IS NULL ORDER BY ordered, id LIMIT 1";

impl Sqlite {
    /// The order whose turn it is, and how far its walk has come.
    async fn next_order(&self) -> Result<Option<(Order, String)>, StoreError> {
        let mut db = self.reader().await?;
        let found = sqlx::query(NEXT_ORDER).fetch_optional(&mut *db).await.map_err(failed)?;
        found.map(|row| Ok((rows::order(&row)?, row.text("after_id")?))).transpose()
    }
}

/// Leases of an order that are still alive: while it is carried out all live ones, afterwards those that are being ended.
/// (One that was recorded late, with an older id, is not the order's.)
async fn left(db: &mut SqliteConnection, order: &Order) -> Result<u64, StoreError> {
    let mut filter = order.order.filter.clone();
    filter.state = order.finished_at.map(|_| crate::domain::lease::State::Revoking);
    query::count_up_to(&filter, order.order.up_to).build_query_scalar().fetch_one(db).await.map_err(failed)
}

struct Place {
    order: NewOrder,
    matched: u64,
}

#[async_trait]
impl Op for Place {
    type Answer = ();

    async fn apply(&self, db: &mut SqliteConnection) -> Result<(), StoreError> {
        let NewOrder { id, at, by, filter, up_to } = &self.order;
        sqlx::query(
            "INSERT INTO orders (id, at, ended_by, identity, role, target, up_to, matched) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )
        .bind(id)
        .bind(at.unix_ms())
        .bind(by.as_str())
        .bind(&filter.identity)
        .bind(&filter.role)
        .bind(&filter.target)
        .bind(up_to.to_string())
        .bind(i64::try_from(self.matched).unwrap_or(i64::MAX))
        .execute(db)
        .await
        .map_err(failed)?;
        Ok(())
    }
}

/// One step of an order, with the walk's place before it: whoever comes second with the same step does nothing.
struct Step {
    order: String,
    by: EndedBy,
    after: String,
    ids: Vec<String>,
    finished: bool,
    now: Timestamp,
}

pub(super) const END_LISTED: &str = "UPDATE leases SET state = 'revoking', ended_by = coalesce(ended_by, ?2), due_at = min(due_at, ?3), \
    wake_at = max(min(due_at, ?3), claimed_until), moved_at = iif(state = 'revoking', moved_at, ?3) \
    WHERE id IN (SELECT value FROM json_each(?1)) AND ended_at IS NULL";

#[async_trait]
impl Op for Step {
    type Answer = u64;
    const BULK: bool = true;

    async fn apply(&self, db: &mut SqliteConnection) -> Result<u64, StoreError> {
        let moved = sqlx::query(
            "UPDATE orders SET after_id = ?3, ordered = ordered + ?4, finished_at = ?5 \
             WHERE id = ?1 AND after_id = ?2 AND finished_at IS NULL",
        )
        .bind(&self.order)
        .bind(&self.after)
        .bind(self.ids.last().unwrap_or(&self.after))
        .bind(bound(self.ids.len()))
        .bind(self.finished.then_some(self.now.unix_ms()))
        .execute(&mut *db)
        .await
        .map_err(failed)?;
        if moved.rows_affected() == 0 || self.ids.is_empty() {
            return Ok(0);
        }
        let ended = sqlx::query(END_LISTED)
            .bind(json!(self.ids).to_string())
            .bind(self.by.as_str())
            .bind(self.now.unix_ms())
            .execute(db)
            .await
            .map_err(failed)?;
        Ok(ended.rows_affected())
    }
}
