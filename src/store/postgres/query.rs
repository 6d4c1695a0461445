//! The only statements that are put together at run time: from the fixed pieces below, with every value bound.

use leasehold_sdk::LeaseId;
use sqlx::{PgConnection, Postgres, QueryBuilder};

use super::super::{Filter, StoreError};
use super::leases::bound;
use super::outcome::failed;
use super::rows;

/// Leases that match, newest first.
pub(super) fn list(filter: &Filter, before: Option<LeaseId>, limit: usize) -> QueryBuilder<Postgres> {
    let mut q = QueryBuilder::new(concat!("SELECT ", rows::lease_columns!(), " FROM leases WHERE true"));
    narrow(&mut q, filter);
    if let Some(id) = before {
        q.push(" AND id < ").push_bind(id.to_string());
    }
    q.push(" ORDER BY id DESC LIMIT ").push_bind(bound(limit));
    q
}

/// How many live leases match.
pub(super) fn count_live(filter: &Filter) -> QueryBuilder<Postgres> {
    let mut q = QueryBuilder::new("SELECT count(*) FROM leases WHERE ended_at IS NULL");
    narrow(&mut q, filter);
    q
}

/// How many live leases match, up to this one.
pub(super) fn count_up_to(filter: &Filter, up_to: LeaseId) -> QueryBuilder<Postgres> {
    let mut q = count_live(filter);
    q.push(" AND id <= ").push_bind(up_to.to_string());
    q
}

/// The ids of live leases that match, oldest first: those after `after`, up to `up_to`.
pub(super) fn walk(filter: &Filter, after: &str, up_to: LeaseId, limit: usize) -> QueryBuilder<Postgres> {
    let mut q = QueryBuilder::new("SELECT id FROM leases WHERE ended_at IS NULL");
    narrow(&mut q, filter);
    q.push(" AND id > ").push_bind(after.to_owned()).push(" AND id <= ").push_bind(up_to.to_string());
    q.push(" ORDER BY id LIMIT ").push_bind(bound(limit));
    q
}

/// Asks for a count.
pub(super) async fn count(db: &mut PgConnection, mut q: QueryBuilder<Postgres>) -> Result<u64, StoreError> {
    let count: i64 = q.build_query_scalar().fetch_one(db).await.map_err(failed)?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Adds the conditions of `filter`. PostgreSQL knows by its own figures which of them is the narrowest.
fn narrow(q: &mut QueryBuilder<Postgres>, filter: &Filter) {
    let conditions = [
        (" AND role = ", filter.role.clone()),
        (" AND target = ", filter.target.clone()),
        (" AND identity = ", filter.identity.clone()),
        (" AND state = ", filter.state.map(|s| s.as_str().to_owned())),
    ];
    for (piece, value) in conditions {
        if let Some(value) = value {
            q.push(piece).push_bind(value);
        }
    }
}
