//! The agent on this host, asked over its socket.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::ClientError;
use crate::limits::CALL_TIME_DEFAULT;
use crate::path::{query, segment};
use crate::transport::{Call, Transport};
use crate::way::Way;
use crate::wire::{AckRequest, AgentStatus, Supplied};

/// An agent. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Agent {
    transport: Arc<Transport>,
}

impl Agent {
    /// The one that listens on this socket.
    pub fn at(socket: PathBuf) -> Self {
        Self { transport: Arc::new(Transport::new(Way::to_agent(socket), CALL_TIME_DEFAULT)) }
    }

    /// The present credential of this name.
    ///
    /// # Errors
    /// See [`ClientError`]; 404 says that the agent keeps none of this name, 503 that it could not fetch it yet.
    pub async fn credential(&self, name: &str) -> Result<Supplied, ClientError> {
        self.transport.call(Call::get(credential_path(name))).await?.secret_json()
    }

    /// The same as soon as it is of a later generation, or as it is after `wait` (in whole seconds).
    ///
    /// # Errors
    /// As [`credential`](Self::credential).
    pub async fn credential_after(&self, name: &str, after: u64, wait: Duration) -> Result<Supplied, ClientError> {
        let asked = query([("after", Some(after.to_string())), ("wait", Some(format!("{}s", wait.as_secs())))]);
        self.transport.call(Call::get(credential_path(name) + &asked).and_wait(wait)).await?.secret_json()
    }

    /// Tells that a consumer works with a generation, and has finished with those before.
    ///
    /// # Errors
    /// See [`ClientError`]; 403 says that the agent's configuration names no such consumer, or another
    /// user to speak for it.
    pub async fn ack(&self, name: &str, ack: &AckRequest) -> Result<(), ClientError> {
        self.transport.call(Call::post(credential_path(name) + "/ack", Some(ack))).await.map(drop)
    }

    /// How it is with all that it keeps.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn status(&self) -> Result<AgentStatus, ClientError> {
        self.transport.call(Call::get("/v1/status".into())).await?.json()
    }

    /// Says goodbye on the kept connections.
    pub async fn close(&self) {
        self.transport.close().await;
    }
}

fn credential_path(name: &str) -> String {
    format!("/v1/credentials/{}", segment(name))
}
