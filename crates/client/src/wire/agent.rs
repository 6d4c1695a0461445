//! What the agent says on its socket.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Credential, Lease};

/// `GET /v1/credentials/{name}` of an agent.
#[derive(Debug, Deserialize)]
pub struct Supplied {
    /// Counts the credentials that took each other's place.
    pub generation: u64,
    /// The lease, as the broker last told it; null for a token that has none.
    pub lease: Option<Lease>,
    /// The credential.
    pub credential: Credential,
}

/// `POST /v1/credentials/{name}/ack` of an agent: this consumer works with this generation, and has finished with those before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AckRequest {
    /// Who; the agent's configuration must name it.
    pub consumer: String,
    /// Which.
    pub generation: u64,
}

/// `GET /v1/status` of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// The SPIFFE ID that it works by.
    pub spiffe_id: String,
    /// By the name in its configuration.
    pub credentials: BTreeMap<String, SupplyStatus>,
}

/// How it is with one credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupplyStatus {
    /// The role.
    pub role: String,
    /// The present generation; 0 until the first was fetched.
    pub generation: u64,
    /// The present lease.
    pub lease: Option<Lease>,
    /// How many whole seconds it still lives.
    pub seconds_left: u64,
    /// The generation that was delivered last.
    pub delivered: u64,
    /// What each consumer has acknowledged.
    pub acknowledged: BTreeMap<String, u64>,
    /// Why it could not be fetched, renewed, replaced or delivered the last time.
    pub last_error: Option<String>,
    /// It is near its end, ended, or not there, and cannot be replaced.
    pub alarm: bool,
}
