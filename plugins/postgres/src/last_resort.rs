//! The session of last resort: it can end sessions when nothing else works any more.
//!
//! Any account can fill the server's one table of locks (`pg_advisory_lock` asks for no right). Then no statement that
//! needs a lock works, and nobody can connect, for as long as its session lives: our ordinary sessions could neither look
//! at that account nor fence it. So one session per target keeps a transaction open that holds, from before, the locks
//! that ending sessions needs. It reads only, and at READ COMMITTED has no snapshot between two statements, so that it
//! does not hold back the server's vacuum.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use leasehold_sdk::{EngineError, Fingerprint};
use sqlx::postgres::PgRow;
use tokio::time::Instant;

use crate::session::{Session, Sessions};
use crate::sql_error::SqlError;

/// A transaction that is older is replaced when somebody next passes by: whoever wants such a catalog for itself alone
/// (`VACUUM FULL`, `REINDEX`), and all who queue behind, wait no longer than that. Only once its successor stands.
const AGE_MAX: Duration = Duration::from_secs(60);
/// Pause after a vain try to make one.
const TRY_AGAIN: Duration = Duration::from_secs(5);
/// How long it is believed to be there since it last answered.
const HEARD_HOLDS: Duration = Duration::from_secs(1);

/// The session of last resort of one target.
pub(crate) struct LastResort {
    sessions: Arc<Sessions>,
    /// What touches all that the statements of an emergency touch.
    touch: String,
    /// How long one message may take.
    limit: Duration,
    session: tokio::sync::Mutex<Option<Session>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    made: Option<Instant>,
    tried: Option<Instant>,
    heard: Option<Instant>,
}

impl LastResort {
    pub(crate) fn new(sessions: Arc<Sessions>, touch: String, limit: Duration) -> Arc<Self> {
        Arc::new(Self { sessions, touch, limit, session: tokio::sync::Mutex::default(), state: Mutex::default() })
    }

    /// Sees to it that there is one that answers, and not an old one. Waits only for the first; without one we go on, and
    /// the log has it.
    pub(crate) async fn stand_by(self: &Arc<Self>) {
        let (there, young) = {
            let mut state = self.state();
            let fresh = |at: Option<Instant>, max| at.is_some_and(|at: Instant| at.elapsed() < max);
            let young = fresh(state.made, AGE_MAX);
            let seen_to = if young { fresh(state.heard, HEARD_HOLDS) } else { fresh(state.tried, TRY_AGAIN) };
            if seen_to {
                return;
            }
            let now = Some(Instant::now());
            if young {
                state.heard = now;
            } else {
                state.tried = now;
            }
            (state.made.is_some(), young)
        };
        let this = Arc::clone(self);
        let seeing = tokio::spawn(async move {
            if young && this.answers().await {
                return;
            }
            if let Err(e) = this.make().await {
                tracing::warn!(why = %e, "no session of last resort: an account that fills the server's lock table could not be ended");
            }
        });
        if !there {
            let _ = seeing.await;
        }
    }

    /// Whether it is still there. Being in use is an answer.
    async fn answers(&self) -> bool {
        let Ok(mut held) = self.session.try_lock() else { return true };
        let Some(session) = held.as_mut() else { return false };
        let answers = session.run("SELECT 1").await.is_ok();
        if !answers {
            *held = None;
            self.state().made = None;
        }
        answers
    }

    /// Sends statements on it, to the server `here`. If it has broken, a new one is tried once.
    ///
    /// # Errors
    /// [`SqlError`]; also when it is connected to another server.
    pub(crate) async fn rows(self: &Arc<Self>, here: &Fingerprint, sql: String) -> Result<Vec<PgRow>, SqlError> {
        let (this, here) = (Arc::clone(self), here.clone());
        // A task of its own: whoever waits may be cancelled, and this session must never be left amid an answer.
        let work = tokio::spawn(async move {
            match this.send(&here, &sql).await {
                Err(SqlError::Lost(_)) => {
                    this.make().await.map_err(|e| SqlError::Lost(e.to_string()))?;
                    this.send(&here, &sql).await
                }
                done => done,
            }
        });
        work.await.unwrap_or_else(|_| Err(SqlError::Lost("the session of last resort failed".into())))
    }

    async fn send(&self, here: &Fingerprint, sql: &str) -> Result<Vec<PgRow>, SqlError> {
        let mut held = self.session.lock().await;
        let session = held.as_mut().ok_or_else(|| SqlError::Lost("there is none".into()))?;
        if session.facts().fingerprint != *here {
            return Err(SqlError::Lost("the session of last resort is connected to another server".into()));
        }
        // Within a transaction the server shows the sessions as it first saw them, unless told to look again. What fails
        // is undone up to the savepoint: the end of the transaction would give up its locks.
        let sql =
            format!("SELECT pg_catalog.pg_stat_clear_snapshot();SAVEPOINT leasehold;{sql};RELEASE SAVEPOINT leasehold");
        let done = session.rows(&sql).await;
        let whole = match &done {
            Ok(_) => true,
            Err(SqlError::Said { .. }) => {
                session.run("ROLLBACK TO SAVEPOINT leasehold;RELEASE SAVEPOINT leasehold").await.is_ok()
            }
            Err(SqlError::Lost(_)) => false,
        };
        if !whole {
            *held = None;
            self.state().made = None;
        }
        done
    }

    async fn make(&self) -> Result<(), EngineError> {
        let mut session = self.sessions.standing(self.limit).await?;
        let begin = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY";
        session.run(begin).await.map_err(|e| e.repeatable("opening its transaction"))?;
        session.run(&self.touch).await.map_err(|e| e.repeatable("taking its locks"))?;
        *self.session.lock().await = Some(session);
        self.state().made = Some(Instant::now());
        Ok(())
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
