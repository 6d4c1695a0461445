//! The file: made with care, held by one process, opened with the right settings.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, SqliteConnection, SqlitePool};

use super::super::{SCHEMA_VERSION, StoreError, overlaps};
use super::outcome::failed;

/// The schema, in the steps by which it grew.
/// Steps that it does not know are those of the next version, which only ever adds.
static MIGRATIONS: Migrator = Migrator { ignore_missing: true, ..sqlx::migrate!("migrations/sqlite") };

/// How long to wait for a lock that another program, such as an operator's `sqlite3`, holds on the database.
const BUSY_WAIT: Duration = Duration::from_secs(5);

/// Connections for reading: few, as each is a thread with a cache of its own.
const READERS: u32 = 3;

/// The right to be the only process that has the store open; given back when dropped, or by the kernel when we die.
pub(super) struct Lock(#[allow(dead_code)] File);

/// Makes directory and file when there are none, and takes the lock.
pub(super) fn claim(path: &Path) -> Result<Lock, StoreError> {
    let io = |what: &Path, e: std::io::Error| StoreError::Unavailable(format!("{}: {e}", what.display()));
    if let Some(dir) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| io(dir, e))?;
    }
    let create = |p: &Path| OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(p);
    let lock_path = lock_path(path);
    let lock = create(&lock_path).map_err(|e| io(&lock_path, e))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(held(path, &lock_path)),
        Err(TryLockError::Error(e)) => return Err(io(&lock_path, e)),
    }
    // Made here and not by SQLite, which would take the umask's mode; its -wal and -shm take the mode of the file.
    create(path).map_err(|e| io(path, e))?;
    Ok(Lock(lock))
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

fn held(path: &Path, lock: &Path) -> StoreError {
    StoreError::NotOurs(format!(
        "another broker has {} open (it holds {}); a SQLite store serves one broker at a time: stop the other one, or give \
         this one a store of its own",
        path.display(),
        lock.display()
    ))
}

/// How every connection is opened. The file is never made here: one that vanished must be an error, not an empty store.
pub(super) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .foreign_keys(true)
        .busy_timeout(BUSY_WAIT)
        .disable_statement_logging()
}

/// A connection that writes.
pub(super) async fn connect(options: &SqliteConnectOptions) -> Result<SqliteConnection, StoreError> {
    options
        .clone()
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        // A log that a bulk revocation made long is cut back once it has been copied.
        .pragma("journal_size_limit", "67108864")
        // In KiB below zero: a bulk revocation walks several indexes at once, and 2 MiB make it read pages again and again.
        .pragma("cache_size", "-8192")
        .connect()
        .await
        .map_err(failed)
}

/// The connections that read, opened when first needed.
pub(super) fn readers(options: &SqliteConnectOptions) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(BUSY_WAIT)
        .max_lifetime(None)
        .connect_lazy_with(options.clone().read_only(true))
}

/// Brings the schema up to date.
pub(super) async fn migrate(db: &mut SqliteConnection) -> Result<(), StoreError> {
    let there = "SELECT count(*) FROM sqlite_schema WHERE name = 'store'";
    if sqlx::query_scalar(there).fetch_one(&mut *db).await.map(|n: i64| n > 0).map_err(failed)? {
        let version = sqlx::query_scalar("SELECT schema_version FROM store").fetch_optional(&mut *db).await;
        version.map_err(failed)?.map_or(Ok(()), overlaps)?;
    }
    MIGRATIONS.run(&mut *db).await.map_err(|e| match e {
        MigrateError::VersionMissing(v) | MigrateError::VersionTooNew(v, _) => StoreError::NotOurs(format!(
            "its schema has step {v}, which this program does not know: a newer leasehold made it; run that one, or a newer"
        )),
        MigrateError::VersionMismatch(v) => StoreError::NotOurs(format!(
            "step {v} of its schema is not the one that this program knows: it was made by a build of another source"
        )),
        MigrateError::Execute(e) | MigrateError::ExecuteMigration(e, _) => failed(e),
        other => StoreError::Damaged(other.to_string()),
    })?;
    let raise = sqlx::query("UPDATE store SET schema_version = ?1 WHERE schema_version < ?1").bind(SCHEMA_VERSION);
    raise.execute(db).await.map(drop).map_err(failed)
}
