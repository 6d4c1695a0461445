//! The only statements that are put together at run time: from the fixed pieces below, with every value bound.

use leasehold_sdk::LeaseId;
use sqlx::{QueryBuilder, Sqlite};

use super::super::Filter;
use super::leases::bound;
use super::rows;
use crate::domain::lease::State;

/// Leases that match, newest first.
pub(super) fn list(filter: &Filter, before: Option<LeaseId>, limit: usize) -> QueryBuilder<Sqlite> {
    let mut q = QueryBuilder::new(concat!("SELECT ", rows::lease_columns!(), " FROM leases WHERE true"));
    narrow(&mut q, filter);
    if let Some(id) = before {
        q.push(" AND id < ").push_bind(id.to_string());
    }
    q.push(" ORDER BY id DESC LIMIT ").push_bind(bound(limit));
    q
}

/// How many live leases match.
pub(super) fn count_live(filter: &Filter) -> QueryBuilder<Sqlite> {
    let mut q = QueryBuilder::new("SELECT count(*) FROM leases WHERE ended_at IS NULL");
    narrow(&mut q, filter);
    q
}

/// How many live leases match, up to this one.
pub(super) fn count_up_to(filter: &Filter, up_to: LeaseId) -> QueryBuilder<Sqlite> {
    let mut q = count_live(filter);
    q.push(" AND +id <= ").push_bind(up_to.to_string());
    q
}

/// The ids of live leases that match, oldest first: those after `after`, up to `up_to`.
pub(super) fn walk(filter: &Filter, after: &str, up_to: LeaseId, limit: usize) -> QueryBuilder<Sqlite> {
    let mut q = QueryBuilder::new("SELECT id FROM leases WHERE ended_at IS NULL");
    narrow(&mut q, filter);
    q.push(" AND id > ").push_bind(after.to_owned()).push(" AND id <= ").push_bind(up_to.to_string());
    q.push(" ORDER BY id LIMIT ").push_bind(bound(limit));
    q
}

/// Adds the conditions of `filter`. SQLite has no figures about our leases to choose an index by, so it is told: a plus before
/// a column keeps that column's index out. Few leases are being made or ended at any time, so those two states come first;
/// any other state says little beside a role, a target or an identity.
fn narrow(q: &mut QueryBuilder<Sqlite>, filter: &Filter) {
    let alone = filter.role.is_none() && filter.target.is_none() && filter.identity.is_none();
    let few = matches!(filter.state, Some(State::Pending | State::Revoking)) && filter.identity.is_none();
    let pick = |first: bool, indexed: &'static str, plain: &'static str| if first { indexed } else { plain };
    let conditions = [
        (pick(!few, " AND role = ", " AND +role = "), filter.role.clone()),
        (pick(!few, " AND target = ", " AND +target = "), filter.target.clone()),
        (" AND identity = ", filter.identity.clone()),
        (pick(alone || few, " AND state = ", " AND +state = "), filter.state.map(|s| s.as_str().to_owned())),
    ];
    for (piece, value) in conditions {
        if let Some(value) = value {
            q.push(piece).push_bind(value);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A statement that asks SQLite how it would run `sql`.
    pub(in super::super) fn explain(sql: &str) -> QueryBuilder<Sqlite> {
        QueryBuilder::new(format!("EXPLAIN QUERY PLAN {sql}"))
    }

    #[test]
    fn values_never_become_part_of_a_statement() {
        let evil = Filter { role: Some("'; DROP TABLE leases; --".to_owned()), ..Filter::default() };
        assert!(!list(&evil, None, 1).into_string().contains("DROP"));
    }
}
