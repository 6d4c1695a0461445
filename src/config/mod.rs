//! File to checked [`Config`]: every error names file, line and key.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use leasehold_identity::IdentityConfig;
use leasehold_sdk::{ClusterName, Engine};

use crate::limits::Limits;
use crate::policy::Rules;

/// A configuration that has been checked whole, except for what only the targets can tell.
pub struct Config {
    /// The file it was read from.
    pub file: PathBuf,
    /// SHA-256 of the file's bytes, in hex: part of every audit line.
    pub hash: String,
    /// `[broker]`.
    pub broker: BrokerConfig,
    /// `[listen]`.
    pub listen: Listen,
    /// `[identity]` and `[identity.bundles]`.
    pub identity: IdentityConfig,
    /// `[store]`.
    pub store: StoreConfig,
    /// `[[audit]]`; at least one is required.
    pub audit: Vec<AuditSink>,
    /// `[limits]`.
    pub limits: Limits,
    /// `[targets.*]`.
    pub targets: BTreeMap<String, Target>,
    /// `[roles.*]` and `[[grants]]`.
    pub rules: Arc<Rules>,
    /// `file:line` of each role, for what is found out about it later.
    pub role_lines: BTreeMap<String, String>,
}

/// `[broker]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerConfig {
    /// Part of every account name.
    pub cluster: ClusterName,
    /// Where the broker keeps what is its own.
    pub data_dir: PathBuf,
    /// Zones whose targets it may serve; `None`: any.
    pub zones: Option<Vec<String>>,
}

/// `[listen]`. Port 0 takes a free port; the real addresses are written to `<data_dir>/addresses.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// mTLS API.
    pub api: SocketAddr,
    /// How clients reach the API, where that differs.
    pub api_url: Option<String>,
    /// Health and metrics, plain HTTP.
    pub ops: SocketAddr,
}

/// `[store]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreConfig {
    /// `sqlite://<path>`.
    Sqlite(PathBuf),
}

/// One `[[audit]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditSink {
    /// Where lines go.
    pub to: AuditTo,
    /// Whether nothing is handed out unless it took the line.
    pub required: bool,
}

/// Where audit lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditTo {
    /// A file, appended to.
    File(PathBuf),
    /// Standard output.
    Stdout,
}

/// One `[targets.*]`.
#[derive(Clone)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// The kind of its engine.
    pub plugin: &'static str,
    /// The kind of credential, such as `database`.
    pub credential_kind: &'static str,
    /// Its zone.
    pub zone: Option<String>,
    /// Gone from service: nothing is minted, what lives is ended; the config may then drop it.
    pub retired: bool,
    /// Its engine, made from its settings.
    pub engine: Arc<dyn Engine>,
    /// SHA-256 of its settings as written: two configs with the same one mean the same target.
    pub settings_hash: String,
}
