//! How a throwaway server is to be set up.

use std::time::Duration;

use crate::Installation;

/// A server certificate with its key, and whose client certificates the server accepts. All in PEM.
#[derive(Clone)]
pub struct PgTls {
    /// The certificate chain shown to clients.
    pub cert_pem: String,
    /// The private key of the first certificate.
    pub key_pem: String,
    /// `ssl_ca_file`: needed for `clientcert=verify-ca` in `pg_hba.conf`.
    pub client_ca_pem: Option<String>,
}

/// Settings of one throwaway server. The default is what a careful production server has, at the size of a test.
#[derive(Clone)]
pub struct PgOptions {
    /// Which binaries; `None` means [`crate::find_installation`].
    pub installation: Option<Installation>,
    /// Lines put at the end of `postgresql.conf`, where the last one wins.
    pub conf: Vec<String>,
    /// Lines put before all others in `pg_hba.conf`, where the first match wins.
    pub hba: Vec<String>,
    /// Writes every statement to [`crate::PgServer::log_path`] (`log_statement = all`).
    pub log_statements: bool,
    /// Whether a commit waits for the disk. Off is faster, and fine where no power cut is part of the test.
    pub fsync: bool,
    /// `max_connections`.
    pub max_connections: u32,
    /// TLS; `None` means off.
    pub tls: Option<PgTls>,
    /// How long the server may take until it accepts connections.
    pub start_timeout: Duration,
}

impl Default for PgOptions {
    fn default() -> Self {
        Self {
            installation: None,
            conf: Vec::new(),
            hba: Vec::new(),
            log_statements: false,
            fsync: true,
            max_connections: 100,
            tls: None,
            start_timeout: Duration::from_secs(60),
        }
    }
}

impl PgOptions {
    /// The default settings on these binaries.
    #[must_use]
    pub fn on(installation: Installation) -> Self {
        Self { installation: Some(installation), ..Self::default() }
    }

    /// Adds one line of `postgresql.conf`.
    #[must_use]
    pub fn conf(mut self, line: impl Into<String>) -> Self {
        self.conf.push(line.into());
        self
    }

    /// Adds one line of `pg_hba.conf`, before the server's own.
    #[must_use]
    pub fn hba(mut self, line: impl Into<String>) -> Self {
        self.hba.push(line.into());
        self
    }

    /// Writes every statement to the server's log.
    #[must_use]
    pub fn log_statements(mut self) -> Self {
        self.log_statements = true;
        self
    }

    /// Lets commits return before they are on disk.
    #[must_use]
    pub fn without_fsync(mut self) -> Self {
        self.fsync = false;
        self
    }

    /// Sets `max_connections`.
    #[must_use]
    pub fn max_connections(mut self, count: u32) -> Self {
        self.max_connections = count;
        self
    }

    /// Turns TLS on.
    #[must_use]
    pub fn tls(mut self, tls: PgTls) -> Self {
        self.tls = Some(tls);
        self
    }
}
