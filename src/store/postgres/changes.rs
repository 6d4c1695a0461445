//! How a lease on record changes, up to the order that it is to end.

use leasehold_sdk::{LeaseId, Receipt, Timestamp};
use sqlx::{Connection, PgConnection};

use super::super::{Row, StoreError};
use super::leases::{json, row};
use super::moves::moving;
use super::outcome::failed;
use super::rows;
use crate::domain::lease::{EndedBy, Lease};

pub(super) const ACTIVATE: &str = "UPDATE leases SET state = 'active', receipt = $2, due_at = expires_at WHERE id = $1 AND state = 'pending' \
     AND NOT EXISTS (SELECT 1 FROM blocks WHERE blocks.identity = leases.identity)";

pub(super) async fn activate(db: &mut PgConnection, id: LeaseId, receipt: &Receipt) -> Result<bool, StoreError> {
    let done = sqlx::query(ACTIVATE).bind(id.to_string()).bind(json(receipt)?).execute(db).await.map_err(failed)?;
    Ok(done.rows_affected() == 1)
}

/// What is unbounded (null) stays so: greatest() alone would pass over it.
pub(super) const ANNOUNCE: &str = "UPDATE leases SET worst_case_until = \
    CASE WHEN worst_case_until IS NULL OR $3::bigint IS NULL THEN NULL ELSE greatest(worst_case_until, $3) END \
    WHERE id = $1 AND state = 'active' AND expires_at > $2 \
    AND NOT EXISTS (SELECT 1 FROM blocks WHERE blocks.identity = leases.identity)";

pub(super) async fn announce(
    db: &mut PgConnection,
    id: LeaseId,
    now: Timestamp,
    worst_case_until: Option<Timestamp>,
) -> Result<bool, StoreError> {
    let done = sqlx::query(ANNOUNCE)
        .bind(id.to_string())
        .bind(now.unix_ms())
        .bind(worst_case_until.map(Timestamp::unix_ms))
        .execute(db)
        .await
        .map_err(failed)?;
    Ok(done.rows_affected() == 1)
}

pub(super) const RENEW: &str = concat!(
    "UPDATE leases SET expires_at = greatest(expires_at, $2), due_at = greatest(expires_at, $2), \
     worst_case_until = CASE WHEN worst_case_until IS NULL THEN NULL ELSE greatest(worst_case_until, $2) END \
     WHERE id = $1 AND state = 'active' RETURNING ",
    rows::lease_columns!()
);

pub(super) async fn renew(
    db: &mut PgConnection,
    id: LeaseId,
    expires_at: Timestamp,
) -> Result<Option<Lease>, StoreError> {
    let renewed = sqlx::query(RENEW).bind(id.to_string()).bind(expires_at.unix_ms()).fetch_optional(db).await;
    renewed.map_err(failed)?.as_ref().map(rows::lease).transpose()
}

pub(super) const END: &str = moving! {
    which: "id = $2 AND ended_at IS NULL FOR UPDATE",
    set: "state = 'revoking', ended_by = coalesce(ended_by, $3), due_at = least(due_at, $4), \
          moved_at = CASE state WHEN 'revoking' THEN moved_at ELSE $4 END",
    answer: rows::row_columns!()
};

pub(super) async fn end(
    db: &mut PgConnection,
    broker: &str,
    id: LeaseId,
    by: EndedBy,
    now: Timestamp,
) -> Result<Option<Row>, StoreError> {
    let ended = sqlx::query(END)
        .bind(broker)
        .bind(id.to_string())
        .bind(by.as_str())
        .bind(now.unix_ms())
        .fetch_optional(&mut *db)
        .await
        .map_err(failed)?;
    match ended {
        Some(row) => rows::whole(&row).map(Some),
        None => row(db, id).await,
    }
}

/// Two steps, as its life has them: each writes its own line to the outbox.
pub(super) const UNMADE: &str = moving! {
    which: "id = $2 AND state = 'pending' FOR UPDATE",
    set: "state = 'revoking', ended_by = 'failed', moved_at = $3",
    answer: "id"
};
pub(super) const UNMADE_CLOSED: &str = moving! {
    which: "id = $2 AND state = 'revoking' FOR UPDATE",
    set: "state = 'revoked', ended_at = $3, moved_at = $3",
    answer: "id"
};

pub(super) async fn close_unmade(
    db: &mut PgConnection,
    broker: &str,
    id: LeaseId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut transaction = db.begin().await.map_err(failed)?;
    for step in [UNMADE, UNMADE_CLOSED] {
        let step = sqlx::query(step).bind(broker).bind(id.to_string()).bind(now.unix_ms());
        if step.fetch_optional(&mut *transaction).await.map_err(failed)?.is_none() {
            break;
        }
    }
    transaction.commit().await.map_err(failed)
}
