//! One connection for one call, and a bound on how long the call may take.

use std::ops::{Deref, DerefMut};

use sqlx::PgConnection;
use sqlx::pool::PoolConnection;
use tokio::time::{Instant, timeout_at};

use super::super::StoreError;
use super::Postgres;
use super::outcome::{failed, may_be_the_password};

/// A connection of the pool.
pub(super) struct Db {
    connection: Option<PoolConnection<sqlx::Postgres>>,
    deadline: Instant,
}

impl Postgres {
    /// A connection. The password is read again for a new one, and again where the server refuses it: it may have been
    /// changed between the two.
    pub(super) async fn db(&self) -> Result<Db, StoreError> {
        let deadline = Instant::now() + self.link.patience;
        if self.pool.num_idle() == 0
            && let Ok(options) = self.link.options()
        {
            self.pool.set_connect_options(options);
        }
        let connection = match self.pool.acquire().await {
            Err(e) if may_be_the_password(&e) => {
                self.pool.set_connect_options(self.link.options()?);
                self.pool.acquire().await
            }
            first => first,
        };
        Ok(Db { connection: Some(connection.map_err(failed)?), deadline })
    }

    /// Waits for a call, but not for ever: a server that hangs answers nothing. Whether a change was made then is not known.
    pub(super) async fn within<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let result = timeout_at(Instant::now() + self.link.patience, call).await.unwrap_or_else(|_| {
            Err(StoreError::Unavailable(format!(
                "it did not answer within {} ms (limit store_call_milliseconds_max)",
                self.link.patience.as_millis()
            )))
        });
        if result.is_err() {
            self.metrics.store_failures.inc();
        }
        result
    }
}

impl Deref for Db {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.connection.as_deref().expect("it is there until it is dropped")
    }
}

impl DerefMut for Db {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.as_deref_mut().expect("it is there until it is dropped")
    }
}

impl Drop for Db {
    /// One that was waited for in vain is closed without a word: the pool would wait for its answer once more.
    fn drop(&mut self) {
        if Instant::now() >= self.deadline
            && let Some(connection) = self.connection.take()
        {
            drop(connection.detach());
        }
    }
}
