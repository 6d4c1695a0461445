//! A lease from a row, and what cannot be read.

use leasehold_identity::SpiffeId;
use leasehold_sdk::{Receipt, Revocable, Timestamp};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::super::{Row, StoreError};
use super::outcome::failed;
use crate::domain::lease::{EndedBy, Lease, State};

/// The columns of a [`Lease`], as a literal.
macro_rules! lease_columns {
    () => {
        "id, role, target, identity, state, ended_by, issued_at, expires_at, max_expires_at, rotate_at, renewable, \
         revocable, worst_case_until, account, attempts, last_error"
    };
}

/// The columns of a [`Row`], as a literal.
macro_rules! row_columns {
    () => {
        concat!(rows::lease_columns!(), ", plan, receipt, mint_deadline, due_at")
    };
}
pub(super) use {lease_columns, row_columns};

/// Reads the columns of [`lease_columns`].
pub(super) fn lease(row: &SqliteRow) -> Result<Lease, StoreError> {
    let id: String = get(row, "id")?;
    let bad = |column: &'static str| {
        let id = id.clone();
        move || StoreError::Damaged(format!("lease {id:?}: its {column} cannot be read"))
    };
    let text = |column| get::<String>(row, column);
    Ok(Lease {
        id: id.parse().map_err(|_| bad("id")())?,
        role: text("role")?,
        target: text("target")?,
        identity: SpiffeId::parse(&text("identity")?).map_err(|_| bad("identity")())?,
        state: State::parse(&text("state")?).ok_or_else(bad("state"))?,
        ended_by: match get::<Option<String>>(row, "ended_by")? {
            Some(word) => Some(EndedBy::parse(&word).ok_or_else(bad("ended_by"))?),
            None => None,
        },
        issued_at: time(row, "issued_at")?,
        expires_at: time(row, "expires_at")?,
        max_expires_at: time(row, "max_expires_at")?,
        rotate_at: time(row, "rotate_at")?,
        renewable: get(row, "renewable")?,
        revocable: revocable(&text("revocable")?).ok_or_else(bad("revocable"))?,
        worst_case_until: get::<Option<i64>>(row, "worst_case_until")?.map(Timestamp::from_unix_ms),
        account: text("account")?.parse().map_err(|_| bad("account")())?,
        attempts: get(row, "attempts")?,
        last_error: get(row, "last_error")?,
    })
}

/// Reads the columns of [`row_columns`].
pub(super) fn whole(row: &SqliteRow) -> Result<Row, StoreError> {
    let lease = lease(row)?;
    let unreadable = |column: &str, e: serde_json::Error| {
        // The error says where, never what: a plan may hold what its role's owner calls private.
        StoreError::Damaged(format!(
            "lease {}: its {column} cannot be read (line {}, column {})",
            lease.id,
            e.line(),
            e.column()
        ))
    };
    let plan = serde_json::from_str(&get::<String>(row, "plan")?).map_err(|e| unreadable("plan", e))?;
    let receipt = match get::<Option<String>>(row, "receipt")? {
        Some(text) => Some(Receipt(serde_json::from_str(&text).map_err(|e| unreadable("receipt", e))?)),
        None => None,
    };
    Ok(Row { plan, receipt, mint_deadline: time(row, "mint_deadline")?, due_at: time(row, "due_at")?, lease })
}

/// One column.
pub(super) fn get<'r, T>(row: &'r SqliteRow, column: &str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(column).map_err(failed)
}

/// One column that holds a time.
pub(super) fn time(row: &SqliteRow, column: &str) -> Result<Timestamp, StoreError> {
    get(row, column).map(Timestamp::from_unix_ms)
}

fn revocable(word: &str) -> Option<Revocable> {
    [Revocable::Immediate, Revocable::Eventual, Revocable::RoleWide, Revocable::None]
        .into_iter()
        .find(|r| r.as_str() == word)
}
