//! The installed `psql`: a client that we did not write.

use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::PgServer;
use crate::installation::in_path;

impl PgServer {
    /// Runs SQL as the superuser in the database `postgres`, through the socket; see [`PgServer::psql_as`].
    ///
    /// # Errors
    /// As [`PgServer::psql_as`].
    pub async fn psql(&self, sql: &str) -> Result<String> {
        self.psql_in("postgres", sql).await
    }

    /// Runs SQL as the superuser in `database`, through the socket; see [`PgServer::psql_as`].
    ///
    /// # Errors
    /// As [`PgServer::psql_as`].
    pub async fn psql_in(&self, database: &str, sql: &str) -> Result<String> {
        let (password, port, socket) = (self.superuser_password(), self.port(), self.socket_dir().display());
        self.psql_as(&format!("postgres://postgres:{password}@/{database}?host={socket}&port={port}"), sql).await
    }

    /// Runs SQL through `psql` with this connection URL and returns what it prints: rows on lines, columns parted by `|`,
    /// no headings. Each statement commits for itself, and the first that fails ends it.
    ///
    /// # Errors
    /// When psql is not installed, cannot log in or a statement fails, with what psql said.
    pub async fn psql_as(&self, url: &str, sql: &str) -> Result<String> {
        let beside = self.installation().program("psql");
        let program = if beside.is_file() { Some(beside) } else { in_path("psql") };
        let program =
            program.context("psql is not installed: `apt-get install postgresql-client`, or run `make setup`")?;
        let mut child = Command::new(program)
            .args(["-X", "-A", "-t", "-q", "-w", "-v", "ON_ERROR_STOP=1", "-f", "-", "-d", url])
            .env("PGCONNECT_TIMEOUT", "10")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start psql")?;
        let mut stdin = child.stdin.take().context("psql has no input")?;
        // psql that could not log in has closed its input: the reason is in its status and error output, read below.
        let _ = stdin.write_all(sql.as_bytes()).await;
        drop(stdin);
        let output = child.wait_with_output().await.context("cannot wait for psql")?;
        if !output.status.success() {
            bail!("psql failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned())
    }
}
