//! The way to the database.

use std::time::Duration;

use leasehold_pglink::{Address, Tls, TlsMode};
use leasehold_sdk::SecretSource;
use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions, PgPool};

use super::super::StoreError;

/// How long a connection may have rested and still be used without asking whether it lives.
const REST_TRUSTED: Duration = Duration::from_secs(2);

/// Where the database is and who we are there.
#[derive(Clone)]
pub struct Link {
    /// Everything but the password.
    pub place: PgConnectOptions,
    /// The password, read again for each new connection. `None`: it lets us in by certificate or peer.
    pub password: Option<SecretSource>,
    /// Longest time for one call.
    pub patience: Duration,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("host", &self.place.get_host()).field("port", &self.place.get_port()).finish()
    }
}

impl Link {
    /// The way to a server, under the same rules as to a target.
    pub fn new(address: &Address, tls: &Tls, password: Option<SecretSource>, patience: Duration) -> Self {
        // What it takes from the environment is either set here or not there: `telemetry::process` sees to that.
        let mut place = PgConnectOptions::new_without_pgpass()
            .port(address.port)
            .username(&address.user)
            .database(&address.database)
            .ssl_mode(match tls.mode {
                TlsMode::Disable => PgSslMode::Disable,
                TlsMode::Prefer => PgSslMode::Prefer,
                TlsMode::Require => PgSslMode::Require,
                TlsMode::VerifyCa => PgSslMode::VerifyCa,
                TlsMode::VerifyFull => PgSslMode::VerifyFull,
            });
        place = if address.is_socket() { place.socket(&address.host) } else { place.host(&address.host) };
        if let Some(ca) = &tls.ca {
            place = place.ssl_root_cert(ca);
        }
        if let Some((cert, key)) = &tls.client {
            place = place.ssl_client_cert(cert).ssl_client_key(key);
        }
        Self { place, password, patience }
    }

    /// What a connection is made with, now.
    pub(super) fn options(&self) -> Result<PgConnectOptions, StoreError> {
        let password = self.password.as_ref().map(SecretSource::read).transpose().map_err(StoreError::Unavailable)?;
        let milliseconds = self.patience.as_millis().to_string();
        Ok(self
            .place
            .clone()
            .options([
                ("statement_timeout", milliseconds.as_str()),
                ("lock_timeout", milliseconds.as_str()),
                ("idle_in_transaction_session_timeout", milliseconds.as_str()),
                ("default_transaction_isolation", "read committed"),
            ])
            // Always ours: the library would take another from the environment.
            .password(password.as_ref().map_or("", |p| p.expose_secret()))
            .application_name("leasehold store")
            .disable_statement_logging())
    }

    /// Connections, made when they are first needed.
    pub(super) fn pool(&self, connections_max: u32) -> Result<PgPool, StoreError> {
        Ok(PgPoolOptions::new()
            .max_connections(connections_max)
            .acquire_timeout(self.patience)
            .idle_timeout(Duration::from_secs(600))
            .max_lifetime(Duration::from_secs(1800))
            .test_before_acquire(false)
            .before_acquire(|db, about| {
                Box::pin(async move {
                    // One that has rested may have died with its server; while much is done, none rests.
                    Ok(about.idle_for < REST_TRUSTED || sqlx::Connection::ping(db).await.is_ok())
                })
            })
            .after_connect(|db, _| Box::pin(async move { sqlx::query(COMMITS_LAST).execute(db).await.map(drop) }))
            .connect_lazy_with(self.options()?))
    }
}

/// A commit that was answered must survive a crash of the server. What is stronger than `on` stays.
const COMMITS_LAST: &str = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', 'local')";
