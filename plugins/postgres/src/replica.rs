//! Read replicas: servers that follow the target's server, and where accounts may have sessions of their own.

use std::sync::Arc;
use std::time::Duration;

use leasehold_sdk::{ClusterName, EngineError, Fingerprint};
use sqlx::Row;
use tokio::time::{Instant, sleep};

use crate::config::TargetConfig;
use crate::quote::quote_literal;
use crate::session::{Session, Sessions};

/// How long it is waited for that a replica has replayed something. One that lags more is asked again later.
const REPLAY_MAX: Duration = Duration::from_secs(2);
/// First pause between two looks, doubled each time up to 64 ms.
const PAUSE_FIRST: Duration = Duration::from_millis(2);

/// One replica.
pub(crate) struct Replica {
    /// `host:port`, its name in errors.
    pub(crate) place: String,
    sessions: Sessions,
}

impl Replica {
    /// All replicas of a target.
    pub(crate) fn all(config: &TargetConfig, primary: &Sessions, cluster: &ClusterName, instance: &str) -> Vec<Self> {
        let replica = |(address, tls): &(_, _)| {
            let config = TargetConfig { address: Clone::clone(address), tls: Clone::clone(tls), ..config.clone() };
            let place = format!("{}:{}", config.address.host, config.address.port);
            let sessions = Sessions::new(Arc::new(config), cluster, instance).of_replica(primary);
            Self { place, sessions }
        };
        config.replicas.iter().map(replica).collect()
    }

    /// A session on it.
    ///
    /// # Errors
    /// [`EngineError::Retry`] when it is out of reach, or not a standby of the server `here`; the text names it.
    pub(crate) async fn session(&self, here: &Fingerprint, limit: Duration) -> Result<Session, EngineError> {
        let reached = self.sessions.ending(limit).await;
        let mut session = reached.map_err(|e| self.error(format!("is out of reach: {e}")))?;
        if session.facts().fingerprint != *here {
            return Err(self.error("is no copy of the target's server: its system identifier is another"));
        }
        let standby = self.ask(&mut session, "SELECT pg_catalog.pg_is_in_recovery() AS yes").await?;
        if !standby {
            return Err(self.error("is no standby; if it is the primary now, say so in the target's url"));
        }
        Ok(session)
    }

    /// Waits until it has replayed all up to `lsn`.
    ///
    /// # Errors
    /// [`EngineError::Retry`] when it lags; the text names it.
    pub(crate) async fn replayed(&self, session: &mut Session, lsn: &str) -> Result<(), EngineError> {
        let sql = format!(
            "SELECT coalesce(pg_catalog.pg_last_wal_replay_lsn() OPERATOR(pg_catalog.>=) {}::pg_catalog.pg_lsn, false) AS yes",
            quote_literal(lsn)?
        );
        let (until, mut pause) = (Instant::now() + REPLAY_MAX, PAUSE_FIRST);
        while !self.ask(session, &sql).await? {
            if Instant::now() >= until {
                return Err(self.error(format!("has not replayed the end of the login within {REPLAY_MAX:?}: it lags")));
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(64));
        }
        Ok(())
    }

    async fn ask(&self, session: &mut Session, sql: &str) -> Result<bool, EngineError> {
        let rows = session.rows(sql).await.map_err(|e| self.error(format!("does not answer: {}", e.text())))?;
        let yes = rows.last().and_then(|row| row.try_get("yes").ok());
        yes.ok_or_else(|| self.error("gives an answer that cannot be read"))
    }

    /// An error that names it.
    pub(crate) fn error(&self, what: impl std::fmt::Display) -> EngineError {
        EngineError::retry(format!("replica {} {what}", self.place))
    }
}

/// The end of what the primary has committed: a replica that has replayed up to there knows all of it.
///
/// # Errors
/// As any query.
pub(crate) async fn flushed(primary: &mut Session) -> Result<String, EngineError> {
    let sql = "SELECT pg_catalog.pg_current_wal_flush_lsn()::pg_catalog.text AS lsn";
    let rows = primary.rows(sql).await.map_err(|e| e.repeatable("asking how far replicas must have come"))?;
    let lsn = rows.last().and_then(|row| row.try_get("lsn").ok());
    lsn.ok_or_else(|| EngineError::retry("the server does not say how far replicas must have come"))
}
