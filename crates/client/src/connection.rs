//! One connection to the broker, and the few that are kept between calls.

use std::error::Error;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::ClientError;
use crate::limits::{CLOSE_TIME_MAX, CONNECT_TIME_MAX, IDLE_CONNECTIONS_MAX, IDLE_TIME_MAX};
use crate::way::Way;

/// HTTP/1.1 and not 2: with one call at a time on a connection nothing of the broker is left unread when it is closed, so
/// that it ends with a clean goodbye and never with a reset, which the broker must take for a lost answer.
pub(crate) struct Connection {
    send: SendRequest<Full<Bytes>>,
    task: JoinHandle<hyper::Result<()>>,
    /// The generation of our identity that it was made by.
    generation: u64,
    last_used: Instant,
}

/// What became of a request that was not answered.
pub(crate) enum Unanswered {
    /// It never left: it can be sent on another connection.
    Unsent(String),
    /// It may have arrived.
    Unknown(String),
}

impl Connection {
    pub(crate) async fn open(way: &Way) -> Result<Self, ClientError> {
        let late = |_| ClientError::TimedOut { addr: way.place(), after: CONNECT_TIME_MAX };
        // Taken before the handshake: if it changes in between, the connection counts as old, which only costs another.
        let generation = way.generation();
        let (send, task) = timeout(CONNECT_TIME_MAX, way.open()).await.map_err(late)??;
        Ok(Self { send, task, generation, last_used: Instant::now() })
    }

    pub(crate) async fn call(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Unanswered> {
        if let Err(error) = self.send.ready().await {
            return Err(Unanswered::Unsent(self.why(&error).await));
        }
        match self.send.try_send_request(request).await {
            Ok(response) => Ok(response),
            Err(mut failed) => {
                let never_left = failed.take_message().is_some();
                let why = self.why(failed.error()).await;
                Err(if never_left { Unanswered::Unsent(why) } else { Unanswered::Unknown(why) })
            }
        }
    }

    /// What the connection itself ended with, which says more than what the call was told.
    async fn why(&mut self, told: &hyper::Error) -> String {
        match timeout(CLOSE_TIME_MAX, &mut self.task).await {
            Ok(Ok(Err(error))) => causes(&error),
            _ => causes(told),
        }
    }

    /// Ends it with TLS's goodbye.
    async fn close(self) {
        drop(self.send);
        // The broker is gone or slow: nothing is lost by not waiting longer.
        let _ = timeout(CLOSE_TIME_MAX, self.task).await;
    }
}

/// The kept connections.
#[derive(Default)]
pub(crate) struct Idle(Mutex<Vec<Connection>>);

impl Idle {
    /// One that can be used at once and was made by the present identity. Others that are found are dropped.
    pub(crate) fn take(&self, generation: u64) -> Option<Connection> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh =
            |c: &Connection| c.generation == generation && c.last_used.elapsed() < IDLE_TIME_MAX && !c.send.is_closed();
        kept.retain(fresh);
        kept.pop()
    }

    pub(crate) fn put(&self, mut connection: Connection) {
        connection.last_used = Instant::now();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < IDLE_CONNECTIONS_MAX {
            kept.push(connection);
        }
    }

    pub(crate) async fn close(&self) {
        let kept = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for connection in kept {
            connection.close().await;
        }
    }
}

/// An error with its causes, which hyper does not show by itself.
pub(crate) fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    text
}
