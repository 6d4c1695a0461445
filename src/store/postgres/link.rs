//! The way to the database.

use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use leasehold_sdk::SecretSource;
use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions, PgPool};

use super::super::StoreError;
use crate::limits::Limits;

/// How long a connection may have rested and still be used without asking whether it lives.
const REST_TRUSTED: Duration = Duration::from_secs(2);

/// Where the database is and who we are there.
#[derive(Clone)]
pub struct Link {
    /// Everything but the password.
    pub place: PgConnectOptions,
    /// The password, read again when the server refuses the one we have. `None`: it lets us in by certificate or peer.
    pub password: Option<SecretSource>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("host", &self.place.get_host()).field("port", &self.place.get_port()).finish()
    }
}

impl Link {
    /// The way that a URL leads, without a password in it. TLS as for targets: the server is verified unless it is on this
    /// very machine, and there too when a CA is named.
    ///
    /// # Errors
    /// [`StoreError::NotOurs`] when it is no such URL.
    pub fn new(url: &str, password: Option<SecretSource>, ca: Option<&Path>) -> Result<Self, StoreError> {
        let place = PgConnectOptions::from_str(url)
            .map_err(|_| StoreError::NotOurs("its url is not postgres://user@host:port/database".to_owned()))?;
        let host = place.get_host();
        let local = host.starts_with('/')
            || host.eq_ignore_ascii_case("localhost")
            || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let mode = if ca.is_some() || !local { PgSslMode::VerifyFull } else { PgSslMode::Prefer };
        let place = ca.into_iter().fold(place.ssl_mode(mode), |place, ca| place.ssl_root_cert(ca));
        Ok(Self { place, password })
    }

    /// What a connection is made with, now.
    pub(super) fn options(&self) -> Result<PgConnectOptions, StoreError> {
        let password = self.password.as_ref().map(SecretSource::read).transpose().map_err(StoreError::Unavailable)?;
        Ok(self
            .place
            .clone()
            // Always ours: the library would take another from the environment.
            .password(password.as_ref().map_or("", |p| p.expose_secret()))
            .application_name("leasehold store")
            .disable_statement_logging())
    }

    /// Connections, made when they are first needed.
    pub(super) fn pool(&self, limits: &Limits) -> Result<PgPool, StoreError> {
        let patience = Duration::from_millis(limits.store_call_milliseconds_max);
        let milliseconds = limits.store_call_milliseconds_max.to_string();
        let options = self.options()?.options([
            ("statement_timeout", milliseconds.as_str()),
            ("lock_timeout", milliseconds.as_str()),
            ("idle_in_transaction_session_timeout", milliseconds.as_str()),
            ("default_transaction_isolation", "read committed"),
        ]);
        Ok(PgPoolOptions::new()
            .max_connections(u32::try_from(limits.store_connections_max).unwrap_or(u32::MAX))
            .acquire_timeout(patience)
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
            .connect_lazy_with(options))
    }
}

/// A commit that was answered must survive a crash of the server. What is stronger than `on` stays.
const COMMITS_LAST: &str = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', 'local')";
