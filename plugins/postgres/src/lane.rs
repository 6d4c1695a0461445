//! Connections of one kind of work: a fixed number, and those that lie idle.

use std::ops::DerefMut;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use leasehold_sdk::EngineError;
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use crate::session::Facts;

/// A connection that lay idle for longer is asked for a sign of life before it is trusted with a mint.
const IDLE_UNCHECKED: Duration = Duration::from_millis(250);
/// A connection is not used again after this time, so that new passwords, certificates and addresses get their turn.
const AGE_MAX: Duration = Duration::from_secs(30 * 60);

/// One connection and what it knows of its server.
pub(crate) struct Open {
    pub(crate) connection: PgConnection,
    pub(crate) facts: Arc<Facts>,
    pub(crate) born: Instant,
    pub(crate) rested: Instant,
}

/// The connections of one kind of work.
pub(crate) struct Lane {
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Open>>,
}

impl Lane {
    pub(crate) fn new(size: usize) -> Arc<Self> {
        Arc::new(Self { permits: Arc::new(Semaphore::new(size)), idle: Mutex::new(Vec::with_capacity(size)) })
    }

    pub(crate) async fn permit(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, EngineError> {
        let permit = timeout_at(deadline, Arc::clone(&self.permits).acquire_owned()).await;
        let busy = || EngineError::retry("all connections to the target were busy for the whole time allowed");
        permit.map_err(|_| busy())?.map_err(|_| busy())
    }

    /// Takes back a connection that is at rest.
    pub(crate) fn keep(&self, open: Open) {
        if open.born.elapsed() < AGE_MAX {
            self.idle().push(open);
        }
    }

    fn idle(&self) -> impl DerefMut<Target = Vec<Open>> + '_ {
        self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A connection that still answers.
    pub(crate) async fn rested(&self) -> Option<Open> {
        loop {
            let mut open = self.idle().pop()?;
            if open.born.elapsed() >= AGE_MAX {
                continue;
            }
            if open.rested.elapsed() < IDLE_UNCHECKED {
                return Some(open);
            }
            if matches!(timeout(Duration::from_secs(1), open.connection.ping()).await, Ok(Ok(()))) {
                return Some(open);
            }
        }
    }
}
