//! The schema, brought up to date by whichever broker comes first.

use std::time::Duration;

use leasehold_sdk::random;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{PgConnection, PgPool};

use super::super::{SCHEMA_VERSION, StoreError, overlaps};
use super::outcome::failed;

/// The schema, in the steps by which it grew. Without the library's lock, which is one of a session: not all databases that
/// take this schema have those. Each step is one statement that may run twice. Steps that it does not know are those of the
/// next version, which only ever adds.
static MIGRATIONS: Migrator =
    Migrator { locking: false, ignore_missing: true, ..sqlx::migrate!("migrations/postgres") };

/// How often a broker tries again that met another one at the same step.
const TRIES: u32 = 100;

/// Runs what is missing. Of brokers that start at once one wins each step; the others find it done when they try again.
pub(super) async fn migrate(pool: &PgPool) -> Result<(), StoreError> {
    version_fits(pool).await?;
    run(pool).await?;
    let raise = "UPDATE store SET schema_version = $1 WHERE schema_version < $1";
    sqlx::query(raise).bind(SCHEMA_VERSION).execute(pool).await.map(drop).map_err(failed)
}

/// Looked at before anything is changed. An empty database has no version yet.
async fn version_fits(pool: &PgPool) -> Result<(), StoreError> {
    match sqlx::query_scalar("SELECT schema_version FROM store").fetch_optional(pool).await {
        Ok(version) => version.map_or(Ok(()), overlaps),
        // 42P01: undefined_table.
        Err(e) if e.as_database_error().is_some_and(|e| e.code().as_deref() == Some("42P01")) => Ok(()),
        Err(e) => Err(failed(e)),
    }
}

async fn run(pool: &PgPool) -> Result<(), StoreError> {
    for _ in 1..TRIES {
        match MIGRATIONS.run(pool).await {
            Ok(()) => return Ok(()),
            Err(e) if collided(&e) => {
                tokio::time::sleep(Duration::from_millis(20).mul_f64(1.0 + random::fraction())).await;
            }
            Err(e) => return Err(refused(e)),
        }
    }
    MIGRATIONS.run(pool).await.map_err(refused)
}

/// Whether another one was at it at the same time: it exists by now, or one waited for the other.
fn collided(error: &MigrateError) -> bool {
    let (MigrateError::Execute(e) | MigrateError::ExecuteMigration(e, _)) = error else { return false };
    let code = e.as_database_error().and_then(|e| e.code()).unwrap_or_default();
    matches!(&*code, "23505" | "40001" | "40P01" | "42P07" | "42710" | "55P03" | "XX000")
}

fn refused(error: MigrateError) -> StoreError {
    match error {
        MigrateError::VersionMissing(v) | MigrateError::VersionTooNew(v, _) => StoreError::NotOurs(format!(
            "its schema has step {v}, which this program does not know: a newer leasehold made it; run that one, or a newer"
        )),
        MigrateError::VersionMismatch(v) => StoreError::NotOurs(format!(
            "step {v} of its schema is not the one that this program knows: it was made by a build of another source"
        )),
        MigrateError::Execute(e) | MigrateError::ExecuteMigration(e, _) => failed(e),
        other => StoreError::Damaged(other.to_string()),
    }
}

/// Ids are compared as text, and must sort as their bytes do. In every collation that is known to be used they do.
pub(super) async fn sorts_by_bytes(db: &mut PgConnection) -> Result<(), StoreError> {
    let sorts: bool = sqlx::query_scalar("SELECT '0' < '9' AND '9' < 'a' AND 'a' < 'v' AND '0v' < '10' AND '' < '0'")
        .fetch_one(db)
        .await
        .map_err(failed)?;
    if sorts {
        return Ok(());
    }
    Err(StoreError::NotOurs(
        "its database sorts digits and letters in an order of its own: make one with LC_COLLATE = 'C' TEMPLATE template0"
            .to_owned(),
    ))
}
