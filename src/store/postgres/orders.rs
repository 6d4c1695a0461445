//! Orders to end many leases, carried out step by step.

use async_trait::async_trait;
use leasehold_sdk::Timestamp;
use sqlx::{Connection, PgConnection};

use super::super::rows::Cells;
use super::super::{NewOrder, Order, OrderStep, Orders, StoreError};
use super::Postgres;
use super::leases::bound;
use super::moves::moving;
use super::outcome::failed;
use super::{query, rows};
use crate::domain::lease::State;

#[async_trait]
impl Orders for Postgres {
    async fn place_order(&self, order: &NewOrder) -> Result<u64, StoreError> {
        self.within(async {
            let mut db = self.db().await?;
            let matched = query::count(&mut db, query::count_up_to(&order.filter, order.up_to)).await?;
            place(&mut db, order, matched).await?;
            Ok(matched)
        })
        .await
    }

    async fn carry_on(&self, now: Timestamp, leases_max: usize) -> Result<Option<OrderStep>, StoreError> {
        self.within(async { carry_on(&mut *self.db().await?, &self.broker, now, leases_max).await }).await
    }

    async fn purge_orders(&self, finished_before: Timestamp, limit: usize) -> Result<u64, StoreError> {
        self.note(sqlx::query(PURGE_ORDERS).bind(finished_before.unix_ms()).bind(bound(limit))).await
    }

    async fn order(&self, id: &str) -> Result<Option<Order>, StoreError> {
        self.within(async {
            let mut db = self.db().await?;
            let found = sqlx::query(ORDER).bind(id).fetch_optional(&mut *db).await.map_err(failed)?;
            let Some(mut order) = found.map(|row| rows::order(&row)).transpose()? else { return Ok(None) };
            let mut filter = order.order.filter.clone();
            // While it is carried out all live ones, afterwards those that are being ended.
            filter.state = order.finished_at.map(|_| State::Revoking);
            order.left = query::count(&mut db, query::count_up_to(&filter, order.order.up_to)).await?;
            Ok(Some(order))
        })
        .await
    }
}

pub(super) const PURGE_ORDERS: &str = "DELETE FROM orders WHERE id IN (SELECT id FROM orders \
    WHERE finished_at IS NOT NULL AND finished_at < $1 ORDER BY finished_at LIMIT $2)";

const ORDER: &str = "SELECT * FROM orders WHERE id = $1";

/// The one that has come least far is next: a small one never waits for a large one. One that another broker is at is passed
/// over.
pub(super) const NEXT_ORDER: &str =
    "SELECT * FROM orders WHERE finished_at IS NULL ORDER BY ordered, id LIMIT 1 FOR UPDATE SKIP LOCKED";

pub(super) const END_LISTED: &str = moving! {
    which: "id = ANY($2) AND ended_at IS NULL ORDER BY id FOR UPDATE",
    set: "state = 'revoking', ended_by = coalesce(ended_by, $3), due_at = least(due_at, $4), \
          moved_at = CASE state WHEN 'revoking' THEN moved_at ELSE $4 END",
    answer: "id"
};

async fn place(db: &mut PgConnection, order: &NewOrder, matched: u64) -> Result<(), StoreError> {
    let NewOrder { id, at, by, filter, up_to } = order;
    sqlx::query(
        "INSERT INTO orders (id, at, ended_by, identity, role, target, up_to, matched) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(id)
    .bind(at.unix_ms())
    .bind(by.as_str())
    .bind(&filter.identity)
    .bind(&filter.role)
    .bind(&filter.target)
    .bind(up_to.to_string())
    .bind(i64::try_from(matched).unwrap_or(i64::MAX))
    .execute(db)
    .await
    .map(drop)
    .map_err(failed)
}

async fn carry_on(
    db: &mut PgConnection,
    broker: &str,
    now: Timestamp,
    leases_max: usize,
) -> Result<Option<OrderStep>, StoreError> {
    let mut transaction = db.begin().await.map_err(failed)?;
    let found = sqlx::query(NEXT_ORDER).fetch_optional(&mut *transaction).await.map_err(failed)?;
    let Some(row) = found else { return Ok(None) };
    let (order, after) = (rows::order(&row)?.order, row.text("after_id")?);
    let ids: Vec<String> = query::walk(&order.filter, &after, order.up_to, leases_max)
        .build_query_scalar()
        .fetch_all(&mut *transaction)
        .await
        .map_err(failed)?;
    let finished = ids.len() < leases_max;
    let end = sqlx::query(END_LISTED).bind(broker).bind(&ids).bind(order.by.as_str()).bind(now.unix_ms());
    let ended = end.fetch_all(&mut *transaction).await.map_err(failed)?.len();
    sqlx::query("UPDATE orders SET after_id = $2, ordered = ordered + $3, finished_at = $4 WHERE id = $1")
        .bind(&order.id)
        .bind(ids.last().unwrap_or(&after))
        .bind(bound(ids.len()))
        .bind(finished.then_some(now.unix_ms()))
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    Ok(Some(OrderStep { order: order.id, ended: ended as u64, finished }))
}
