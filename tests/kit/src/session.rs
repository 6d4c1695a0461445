//! Logging in as a workload would, and watching an open session.

use std::time::Duration;

use anyhow::{Context, Result};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection, Row};

use crate::wait_until;

/// How long a query or a login may take before the other side counts as dead.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// One open database session.
pub struct Session {
    connection: PgConnection,
    backend_pid: u32,
}

impl Session {
    /// Logs in. The error is sqlx's own, so that a refused login can be told from a dead server.
    ///
    /// # Errors
    /// When the server refuses, cannot be reached, or takes longer than 10 s.
    pub async fn open(options: &PgConnectOptions) -> Result<Self, sqlx::Error> {
        let connecting = PgConnection::connect_with(options);
        let mut connection = tokio::time::timeout(ANSWER_TIMEOUT, connecting)
            .await
            .map_err(|_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))??;
        let backend_pid: i32 =
            sqlx::query_scalar("SELECT pg_catalog.pg_backend_pid()").fetch_one(&mut connection).await?;
        Ok(Self { connection, backend_pid: backend_pid.unsigned_abs() })
    }

    /// The server process that serves this session.
    #[must_use]
    pub fn backend_pid(&self) -> u32 {
        self.backend_pid
    }

    /// The connection itself, for queries with arguments.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Runs one or more statements, and throws their rows away.
    ///
    /// # Errors
    /// What the server says.
    pub async fn execute(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut self.connection).await.map(drop)
    }

    /// The first column of the first row, as text; `None` when it is NULL or there is no row.
    ///
    /// # Errors
    /// What the server says.
    pub async fn text(&mut self, sql: &str) -> Result<Option<String>> {
        let row = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_optional(&mut self.connection).await?;
        row.map_or(Ok(None), |row| row.try_get_unchecked(0).context("the first column is no text"))
    }

    /// Whether the server still answers on this session.
    pub async fn is_alive(&mut self) -> bool {
        matches!(tokio::time::timeout(ANSWER_TIMEOUT, self.execute("SELECT 1")).await, Ok(Ok(())))
    }

    /// Waits until the server has ended this session.
    ///
    /// # Panics
    /// When it is still alive after `timeout`.
    pub async fn wait_until_dead(mut self, timeout: Duration) {
        let session = &mut self;
        let deadline = tokio::time::Instant::now() + timeout;
        while session.is_alive().await {
            assert!(tokio::time::Instant::now() < deadline, "the session still answers after {timeout:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Waits until this login is refused for its user or password.
pub(crate) async fn wait_until_refused(options: &PgConnectOptions, timeout: Duration) {
    wait_until(timeout, "the login to be refused", || async move { is_refused(Session::open(options).await.err()) })
        .await;
}

/// SQLSTATE class 28 is "invalid authorization specification".
#[must_use]
pub fn is_refused(error: Option<sqlx::Error>) -> bool {
    let code = error.as_ref().and_then(sqlx::Error::as_database_error).and_then(|error| error.code());
    code.is_some_and(|code| code.starts_with("28"))
}
