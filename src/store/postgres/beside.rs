//! A look into the database beside the brokers that work on it.

use leasehold_sdk::{ClusterName, Finding, Level, Reason};
use sqlx::{ConnectOptions, PgConnection};
use tokio::time::timeout;

use super::super::{AuditHead, SealedRow, StoreError, overlaps, rows};
use super::link::Link;
use super::outcome::failed;
use super::schema;

/// The audit chains that the store of `cluster` knows of, and where they end.
///
/// # Errors
/// [`StoreError::Unavailable`] when it cannot be read, [`StoreError::NotOurs`] when it is another cluster's, or of a version
/// that this program does not know.
pub async fn audit_heads(link: &Link, cluster: &ClusterName) -> Result<Vec<(String, AuditHead)>, StoreError> {
    let mut db = look(link, cluster).await?;
    let rows: Vec<(String, i64, String)> = sqlx::query_as("SELECT chain, seq, hash FROM audit_heads ORDER BY chain")
        .fetch_all(&mut db)
        .await
        .map_err(failed)?;
    Ok(rows.into_iter().map(|(chain, seq, hash)| (chain, AuditHead { seq: seq.unsigned_abs(), hash })).collect())
}

/// What is sealed in it.
///
/// # Errors
/// As [`audit_heads`].
pub async fn sealed(link: &Link, cluster: &ClusterName) -> Result<Vec<SealedRow>, StoreError> {
    let mut db = look(link, cluster).await?;
    sqlx::query(super::sealed::ALL).fetch_all(&mut db).await.map_err(failed)?.iter().map(rows::sealed).collect()
}

/// What keeps a broker from working with it, or its leases from lasting. Changes nothing.
///
/// # Errors
/// [`StoreError::Unavailable`] when it cannot be reached or does not let us in.
pub async fn examine(link: &Link, cluster: &ClusterName) -> Result<Vec<Finding>, StoreError> {
    let mut db = connect(link).await?;
    let server: Server = sqlx::query_as(SERVER).fetch_one(&mut db).await.map_err(failed)?;
    let mut all = server.findings(link.place.get_username());
    if let Err(e) = schema::sorts_by_bytes(&mut db).await {
        all.push(found(Level::Error, e.to_string(), None));
    }
    match owner(&mut db, cluster).await {
        Ok(()) => {}
        Err(_) if !server.is_made => {}
        Err(e) => all.push(found(Level::Error, e.to_string(), None)),
    }
    Ok(all)
}

async fn look(link: &Link, cluster: &ClusterName) -> Result<PgConnection, StoreError> {
    let mut db = connect(link).await?;
    owner(&mut db, cluster).await?;
    Ok(db)
}

pub(super) async fn connect(link: &Link) -> Result<PgConnection, StoreError> {
    let silent = |_| StoreError::Unavailable(format!("it did not answer within {} ms", link.patience.as_millis()));
    timeout(link.patience, link.options()?.connect()).await.map_err(silent)?.map_err(failed)
}

pub(super) async fn owner(db: &mut PgConnection, cluster: &ClusterName) -> Result<(), StoreError> {
    let (owner, version): (String, i64) =
        sqlx::query_as("SELECT cluster, schema_version FROM store").fetch_one(db).await.map_err(failed)?;
    if owner != cluster.as_str() {
        return Err(StoreError::NotOurs(format!("it belongs to cluster {owner:?}, not {:?}", cluster.as_str())));
    }
    overlaps(version)
}

/// What a server says of itself. `store` is looked for as every statement looks for it.
const SERVER: &str = "SELECT current_setting('server_version') AS version, current_setting('fsync') = 'on' AND \
     current_setting('full_page_writes') = 'on' AS lasts, pg_is_in_recovery() AS standby, \
     current_setting('is_superuser') = 'on' AS superuser, to_regclass('store') IS NOT NULL AS is_made, \
     COALESCE(has_schema_privilege(current_schema(), 'CREATE'), false) AS may_make";

#[derive(sqlx::FromRow)]
struct Server {
    version: String,
    /// Whether what it commits outlives a crash of its machine.
    lasts: bool,
    standby: bool,
    superuser: bool,
    /// Whether the store's tables are there.
    is_made: bool,
    /// Whether we may make them.
    may_make: bool,
}

impl Server {
    fn findings(&self, user: &str) -> Vec<Finding> {
        let made = if self.is_made { "holds the store" } else { "is empty: the first broker makes the tables" };
        let mut all = vec![found(Level::Good, format!("PostgreSQL {}; the database {made}", self.version), None)];
        if self.standby {
            let what = "the server is a standby, which takes no change: name the primary in [store] url";
            all.push(found(Level::Error, what.to_owned(), None));
        }
        if !self.may_make {
            let what = format!("the login {user:?} may not make tables, which a new version of this program needs");
            let fix = format!("ALTER DATABASE <the store's> OWNER TO <{user}>; -- or GRANT CREATE on its schema");
            all.push(found(if self.is_made { Level::Warning } else { Level::Error }, what, Some(fix)));
        }
        if !self.lasts {
            let what = "the server forgets commits when its machine crashes (fsync or full_page_writes is off): leases \
                        would be lost, and with them the duty to end their accounts";
            all.push(found(Level::Error, what.to_owned(), None));
        }
        if self.superuser {
            let what =
                format!("the login {user:?} is a superuser: the store needs a login that owns its database, no more");
            all.push(found(Level::Warning, what, None));
        }
        all
    }
}

fn found(level: Level, what: String, fix: Option<String>) -> Finding {
    Finding { level, role: None, what: Reason::new(what), fix }
}
