//! Admin sessions: few, pinned, bounded, and never used again in a state that is not known.
//!
//! An account that we minted may own a database and set that database's defaults, or plant functions in `public`. So
//! every default that could change what a statement of ours means is pinned in the start-up packet, which outranks
//! `ALTER DATABASE` and `ALTER ROLE` defaults; and every statement qualifies its names.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::TryStreamExt;
use leasehold_sdk::{AdminSecrets, ClusterName, EngineError, Fingerprint};
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};

use crate::answer::Answer;
use crate::config::TargetConfig;
use crate::guard::{self, Door};
use crate::lane::{Lane, Open};
use crate::pins::{Use, newest_without, pins};
use crate::sql_error::{SqlError, connect_text, unknown_setting};

/// Batches of revocations under way at once: while one waits for its commit, the other is at work.
pub(crate) const REVOKE_LANES: usize = 2;
/// Connections that only end accounts: one for each lane of what falls due, as many for what could not be ended before, and
/// one for the reconciler, so that ending waits neither for making and looking nor for other endings.
const ENDING_CONNECTIONS: usize = 2 * REVOKE_LANES + 1;
/// Connections for everything else.
const OTHER_CONNECTIONS: usize = 2;
/// Connections to databases that are not the target's own: hand-overs at revocation.
const ELSEWHERE_CONNECTIONS: usize = 2;
/// How long it is believed which server this is, after any session had an answer from it.
const HEARD_HOLDS: Duration = Duration::from_secs(10);
/// Oldest and newest server that this engine was tested with (major versions).
pub(crate) const VERSIONS: std::ops::RangeInclusive<u32> = 13..=18;

/// All sessions of one target.
pub(crate) struct Sessions {
    config: Arc<TargetConfig>,
    application_name: String,
    mint: Arc<Lane>,
    ending: Arc<Lane>,
    other: Arc<Lane>,
    elsewhere: Arc<Lane>,
    standing: Arc<Lane>,
    heard: Arc<Heard>,
    /// The major version whose defaults the start-up packet pins: the server refuses one that it does not know.
    pins_of: AtomicU32,
    /// What the core keeps in place of the configured password; a replica's sessions share it with the primary's.
    pub(crate) admin: AdminSecrets,
    /// Whether a login tells which password holds. A replica may lag, and still take one that is no more.
    proves: bool,
}

/// What a session knows of its server, asked once per connection.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// Major version.
    pub(crate) major: u32,
    /// Which server it is.
    pub(crate) fingerprint: Fingerprint,
    /// Our login.
    pub(crate) user: String,
    /// Whether our login is a superuser.
    pub(crate) superuser: bool,
    /// The database that the session is in.
    pub(crate) database: String,
    /// The server process that serves it.
    pub(crate) pid: i32,
}

/// Which server answered last, and when. It saves a session at each mint and makes nothing less safe: the session that
/// mints compares with the server that it is connected to.
#[derive(Default)]
struct Heard(Mutex<Option<(Fingerprint, Instant)>>);

impl Heard {
    fn note(&self, from: Option<&Fingerprint>) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *heard = from.map(|f| (f.clone(), Instant::now()));
    }

    fn lately(&self) -> Option<Fingerprint> {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.as_ref().filter(|(_, at)| at.elapsed() < HEARD_HOLDS).map(|(f, _)| f.clone())
    }
}

/// One session, taken for one piece of work. It goes back to be used again only when nothing is under way on it.
pub(crate) struct Session {
    open: Option<Open>,
    lane: Arc<Lane>,
    /// How long one message may take.
    limit: Duration,
    /// Whether the server has answered all that was sent, outside of a transaction.
    at_rest: bool,
    keep: bool,
    heard: Arc<Heard>,
    _permit: OwnedSemaphorePermit,
}

impl Sessions {
    pub(crate) fn new(config: Arc<TargetConfig>, cluster: &ClusterName, instance: &str) -> Self {
        Self {
            application_name: format!("leasehold/{cluster}/{instance}"),
            mint: Lane::new(config.connections),
            ending: Lane::new(ENDING_CONNECTIONS),
            other: Lane::new(OTHER_CONNECTIONS),
            elsewhere: Lane::new(ELSEWHERE_CONNECTIONS),
            // Two, so that a new one is ready before the old one goes.
            standing: Lane::new(2),
            heard: Arc::default(),
            pins_of: AtomicU32::new(*VERSIONS.end()),
            admin: AdminSecrets::default(),
            proves: true,
            config,
        }
    }

    /// Of a replica, whose logins are those of `primary`.
    pub(crate) fn of_replica(mut self, primary: &Self) -> Self {
        (self.admin, self.proves) = (primary.admin.clone(), false);
        self
    }

    /// A session for mints: at most `limit` to wait for it, and as much again for each message.
    ///
    /// # Errors
    /// [`EngineError::Retry`]: nothing was sent.
    pub(crate) async fn mint(&self, limit: Duration) -> Result<Session, EngineError> {
        self.take(&self.mint, limit).await
    }

    /// A session to end accounts with.
    ///
    /// # Errors
    /// [`EngineError::Retry`].
    pub(crate) async fn ending(&self, limit: Duration) -> Result<Session, EngineError> {
        self.take(&self.ending, limit).await
    }

    /// A session for everything else.
    ///
    /// # Errors
    /// [`EngineError::Retry`].
    pub(crate) async fn other(&self, limit: Duration) -> Result<Session, EngineError> {
        self.take(&self.other, limit).await
    }

    /// A new session in any database, not kept afterwards.
    ///
    /// # Errors
    /// [`EngineError::Retry`].
    pub(crate) async fn in_database(&self, database: &str, limit: Duration) -> Result<Session, EngineError> {
        self.unkept(&self.elsewhere, database, Use::Work, limit).await
    }

    /// A new session whose open transaction may stand for as long as it likes.
    ///
    /// # Errors
    /// [`EngineError::Retry`].
    pub(crate) async fn standing(&self, limit: Duration) -> Result<Session, EngineError> {
        self.unkept(&self.standing, &self.config.address.database, Use::Standing, limit).await
    }

    /// Which server this is, without a session if one had an answer lately.
    ///
    /// # Errors
    /// [`EngineError::Retry`].
    pub(crate) async fn fingerprint(&self, limit: Duration) -> Result<Fingerprint, EngineError> {
        if let Some(heard) = self.heard.lately() {
            return Ok(heard);
        }
        let mut session = self.other(limit).await?;
        // One from the pool may have been lost since it was last used.
        session.run("SELECT 1").await.map_err(|e| e.repeatable("asking which server it is"))?;
        Ok(session.facts().fingerprint.clone())
    }

    async fn unkept(
        &self,
        lane: &Arc<Lane>,
        database: &str,
        r#for: Use,
        limit: Duration,
    ) -> Result<Session, EngineError> {
        let permit = lane.permit(Instant::now() + limit).await?;
        let open = self.connect(database, r#for).await?;
        Ok(self.session(open, lane, limit, false, permit))
    }

    fn session(
        &self,
        open: Open,
        lane: &Arc<Lane>,
        limit: Duration,
        keep: bool,
        permit: OwnedSemaphorePermit,
    ) -> Session {
        let (lane, heard) = (Arc::clone(lane), Arc::clone(&self.heard));
        Session { open: Some(open), lane, limit, at_rest: true, keep, heard, _permit: permit }
    }

    async fn take(&self, lane: &Arc<Lane>, limit: Duration) -> Result<Session, EngineError> {
        let permit = lane.permit(Instant::now() + limit).await?;
        let open = match lane.rested().await {
            Some(open) => open,
            None => self.connect(&self.config.address.database, Use::Work).await?,
        };
        Ok(self.session(open, lane, limit, true, permit))
    }

    async fn connect(&self, database: &str, r#for: Use) -> Result<Open, EngineError> {
        let place = format!("{}:{}", self.config.address.host, self.config.address.port);
        let made = timeout(self.config.connect_timeout, self.connect_unbounded(database, r#for)).await;
        made.unwrap_or_else(|_| Err(format!("no answer within {:?}", self.config.connect_timeout))).map_err(|why| {
            self.heard.note(None);
            EngineError::retry(format!("cannot connect to {place}, database {database:?}: {why}"))
        })
    }

    async fn connect_unbounded(&self, database: &str, r#for: Use) -> Result<Open, String> {
        let mut connection = self.start_up(database, r#for).await?;
        let version = connection.server_version_num().ok_or("the server does not tell its version")?;
        let major = version / 10_000;
        if !VERSIONS.contains(&major) {
            let (oldest, newest) = (VERSIONS.start(), VERSIONS.end());
            return Err(format!("it is PostgreSQL {major}; supported are {oldest} to {newest}"));
        }
        let mut answer = Answer::default();
        let told = each_row(&mut connection, SETTLE, |row| answer.take(row)).await;
        told.map_err(|e| e.text().to_owned())?;
        let facts = answer.rows().last().ok_or("the server gave no facts about itself".to_owned()).and_then(|r| {
            facts(r, major).map_err(|e| format!("the server's facts about itself cannot be read: {e}"))
        })?;
        if facts.user != self.config.address.user || facts.database != database {
            return Err(format!("the session is {:?} in {:?}, not as asked", facts.user, facts.database));
        }
        self.pins_of.store(major, Ordering::Relaxed);
        self.heard.note(Some(&facts.fingerprint));
        let now = Instant::now();
        Ok(Open { connection, facts: Arc::new(facts), born: now, rested: now })
    }

    /// Connects with the pins of the newest version that the server accepts. That cannot wait for the server to tell its
    /// version: a hostile `idle_session_timeout` of a millisecond ends a session before its first statement.
    async fn start_up(&self, database: &str, r#for: Use) -> Result<PgConnection, String> {
        for kept in self.admin.candidates() {
            match self.knock(database, r#for, Some(&kept.secret)).await {
                Ok(connection) => {
                    self.proven(Some(kept.generation));
                    return Ok(connection);
                }
                Err(refused) if refused.is_the_password() => {}
                Err(refused) => return Err(refused.text()),
            }
        }
        let password = self.config.password.as_ref().map(|p| p.read()).transpose()?;
        let connection = self.knock(database, r#for, password.as_ref()).await.map_err(NotIn::text)?;
        self.proven(None);
        Ok(connection)
    }

    fn proven(&self, generation: Option<u64>) {
        if self.proves {
            self.admin.prove(generation);
        }
    }

    async fn knock(&self, database: &str, r#for: Use, password: Option<&SecretString>) -> Result<PgConnection, NotIn> {
        let config = &self.config;
        let mut major = self.pins_of.load(Ordering::Relaxed);
        loop {
            let door = guard::open(&config.address, &config.tls, password.is_some()).await.map_err(NotIn::Door)?;
            let options = self.options(database, &door, password, pins(config, major, r#for));
            let refused = match options.connect().await {
                Ok(connection) => return Ok(connection),
                Err(e) => e,
            };
            let older = unknown_setting(&refused).filter(|_| major > *VERSIONS.start());
            let Some(refusal) = older else { return Err(NotIn::Server(refused)) };
            major = newest_without(refusal).map_or(major - 1, |newest| newest.min(major - 1));
            // Kept already: with a slow server, attempts that all began with the newest would all run out of time.
            self.pins_of.store(major, Ordering::Relaxed);
        }
    }

    /// Logs in with this password and no other.
    ///
    /// # Errors
    /// Why it was not let in.
    pub(crate) async fn prove(&self, password: &SecretString) -> Result<(), String> {
        let knock = self.knock(&self.config.address.database, Use::Work, Some(password));
        match timeout(self.config.connect_timeout, knock).await {
            Ok(Ok(connection)) => {
                let _ = connection.close().await;
                Ok(())
            }
            Ok(Err(refused)) => Err(refused.text()),
            Err(_) => Err(format!("no answer within {:?}", self.config.connect_timeout)),
        }
    }

    /// The driver's settings. It speaks in clear text, to the guard within this process; TLS is the guard's.
    fn options(
        &self,
        database: &str,
        door: &Door,
        password: Option<&SecretString>,
        pins: Vec<(&'static str, String)>,
    ) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(&door.socket)
            .port(self.config.address.port)
            .username(&self.config.address.user)
            // Always ours: the library would take another from the environment.
            .password(password.map_or("", |p| p.expose_secret()))
            .database(database)
            .ssl_mode(PgSslMode::Disable)
            .application_name(&self.application_name)
            .statement_cache_capacity(0)
            .options(pins)
            .disable_statement_logging()
    }
}

/// Why a server did not let us in.
enum NotIn {
    /// We did not come to it.
    Door(String),
    /// It said no.
    Server(sqlx::Error),
}

impl NotIn {
    fn text(self) -> String {
        match self {
            Self::Door(why) => why,
            Self::Server(e) => connect_text(&e),
        }
    }

    /// Class 28: invalid authorization.
    fn is_the_password(&self) -> bool {
        let Self::Server(sqlx::Error::Database(e)) = self else { return false };
        e.code().is_some_and(|code| code.starts_with("28"))
    }
}

/// Leaves any other identity that a default may have given the session, and asks for the facts. A superuser's defaults
/// could have been given by somebody who is one, which is nothing that we could or need protect ourselves from.
const SETTLE: &str = "SET SESSION AUTHORIZATION DEFAULT; SET ROLE NONE; SET search_path = '';\
    SELECT (SELECT c.system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system() AS c) AS system,\
    CURRENT_USER::pg_catalog.text AS login, pg_catalog.current_database()::pg_catalog.text AS database,\
    pg_catalog.current_setting('is_superuser') OPERATOR(pg_catalog.=) 'on' AS super,\
    pg_catalog.pg_backend_pid() AS pid";

fn facts(row: &PgRow, major: u32) -> Result<Facts, sqlx::Error> {
    let system: String = row.try_get("system")?;
    Ok(Facts {
        major,
        fingerprint: Fingerprint(format!("postgres:{system}")),
        user: row.try_get("login")?,
        superuser: row.try_get("super")?,
        database: row.try_get("database")?,
        pid: row.try_get("pid")?,
    })
}

/// Sends one message and gives each row of its answer to `each`, whose error ends it.
async fn each_row(
    connection: &mut PgConnection,
    sql: &str,
    mut each: impl FnMut(PgRow) -> Result<(), SqlError> + Send,
) -> Result<(), SqlError> {
    let mut rows = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch(connection);
    while let Some(row) = rows.try_next().await.map_err(|e| SqlError::sent(&e))? {
        each(row)?;
    }
    Ok(())
}

impl Session {
    /// The server's facts.
    pub(crate) fn facts(&self) -> &Facts {
        &self.inner().facts
    }

    /// Sends one message of one or several statements, which are one transaction, and returns the rows of all of them.
    ///
    /// # Errors
    /// [`SqlError`]: what may be true now. An answer that is too large is as good as none.
    pub(crate) async fn rows(&mut self, sql: &str) -> Result<Vec<PgRow>, SqlError> {
        let mut answer = Answer::default();
        self.send(sql, |row| answer.take(row)).await?;
        Ok(answer.rows())
    }

    /// As [`Session::rows`], for statements without rows of interest, of which there may be any number: none is kept.
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn run(&mut self, sql: &str) -> Result<(), SqlError> {
        self.send(sql, |_| Ok(())).await
    }

    async fn send(
        &mut self,
        sql: &str,
        each: impl FnMut(PgRow) -> Result<(), SqlError> + Send,
    ) -> Result<(), SqlError> {
        if !self.at_rest {
            return Err(SqlError::Lost("the session was lost before".into()));
        }
        self.at_rest = false;
        let limit = self.limit;
        let work = each_row(&mut self.inner_mut().connection, sql, each);
        let late = |_| Err(SqlError::Lost("the server did not answer in time".into()));
        let done = timeout(limit, work).await.unwrap_or_else(late);
        self.at_rest = !matches!(done, Err(SqlError::Lost(_)));
        self.heard.note(self.at_rest.then_some(&self.facts().fingerprint));
        done
    }

    fn inner(&self) -> &Open {
        self.open.as_ref().expect("open until dropped")
    }

    fn inner_mut(&mut self) -> &mut Open {
        self.open.as_mut().expect("open until dropped")
    }
}

impl Drop for Session {
    /// A session that is not at rest is closed with its socket: nobody may find out later what it was doing.
    fn drop(&mut self) {
        if let Some(mut open) = self.open.take()
            && self.keep
            && self.at_rest
        {
            open.rested = Instant::now();
            self.lane.keep(open);
        }
    }
}
