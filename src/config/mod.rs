//! File to checked [`Config`]: every error names file, line and key, and all of them are told at once.

mod audit;
mod break_glass;
mod document;
mod error;
mod grants;
mod identity;
mod reload;
mod seal;
pub(crate) mod section;
mod server;
mod store;
mod targets;
#[cfg(test)]
mod tests;
mod token;
mod value;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use leasehold_identity::{ClientCert, IdentityConfig};
use leasehold_pglink::{Address, Tls};
use leasehold_sdk::{ClusterName, Engine, EngineKind, SecretSource};
use serde::{Deserialize, Serialize};

pub use audit::{AuditSink, AuditTo, Collector, HttpsCollector};
pub use error::{ConfigError, ConfigErrors};
pub use reload::{Changes, Remembered, TargetChange, changes, needs_restart};
pub use seal::SealConfig;
pub(crate) use seal::key_source;

use document::{Document, Places};
use section::{Problems, Section};
use targets::TargetMaker;

use crate::domain::grant::IdPattern;
use crate::limits::Limits;
use crate::policy::Rules;
use crate::token::TokenConfig;

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
    /// `[seal]`.
    pub seal: Option<SealConfig>,
    /// `[token]`.
    pub token: Option<TokenConfig>,
    /// `[[audit]]`; at least one is required.
    pub audit: Vec<AuditSink>,
    /// `[limits]`.
    pub limits: Limits,
    /// `[break_glass]`: where its socket is; `None`: it is turned off.
    pub break_glass: Option<PathBuf>,
    /// `[targets.*]`.
    pub targets: BTreeMap<String, Target>,
    /// `[roles.*]` and `[[grants]]`.
    pub rules: Arc<Rules>,
    places: Places,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").field("file", &self.file).field("hash", &self.hash).finish_non_exhaustive()
    }
}

/// Reads and checks a file. `kinds` are the plugins there are; `instance` is this process's mark in the targets' session
/// lists. Paths in the file start at its directory. No target is touched, and no file but this one is read.
///
/// # Errors
/// Everything that is wrong with the file, in its order.
pub fn load(path: &Path, kinds: &[Box<dyn EngineKind>], instance: &str) -> Result<Config, ConfigErrors> {
    check(&Document::read(path)?, kinds, instance)
}

/// As [`load`], of a text that is already read; `path` is where it would be.
///
/// # Errors
/// As [`load`].
pub fn parse(path: &Path, text: &str, kinds: &[Box<dyn EngineKind>], instance: &str) -> Result<Config, ConfigErrors> {
    check(&Document { file: path.to_owned(), text: text.to_owned() }, kinds, instance)
}

/// Reads and checks a file that another part of the program has its own keys in. `read` is told the directory at which relative
/// paths start; whoever answers `None` has noted why.
///
/// # Errors
/// Everything that is wrong with the file, in its order.
pub(crate) fn read_file<T>(path: &Path, read: impl FnOnce(Section<'_>, &Path) -> Option<T>) -> Result<T, ConfigErrors> {
    let document = Document::read(path)?;
    let (table, places) = document.parse()?;
    let base = std::path::absolute(&document.file).unwrap_or_else(|_| document.file.clone());
    let problems = Problems::new(&document, &places);
    let found = read(Section::root(&problems, &table), base.parent().unwrap_or(Path::new("/")));
    problems.finish()?;
    let nothing = || ConfigError::new(document.file.clone(), Some(1), "", "is not a whole configuration").into();
    found.ok_or_else(nothing)
}

fn check(document: &Document, kinds: &[Box<dyn EngineKind>], instance: &str) -> Result<Config, ConfigErrors> {
    let (table, places) = document.parse()?;
    let base = std::path::absolute(&document.file).unwrap_or_else(|_| document.file.clone());
    let base = base.parent().unwrap_or(Path::new("/"));
    let problems = Problems::new(document, &places);
    let parts = Parts::read(Section::root(&problems, &table), kinds, instance, base);
    let Some(parts) = parts else {
        problems.finish()?;
        // Whoever answers `None` has said why; should one forget, the file must still not pass.
        return Err(ConfigError::new(document.file.clone(), Some(1), "", "is not a whole configuration").into());
    };
    problems.finish()?;
    let Parts { broker, listen, identity, store, seal, token, audit, limits, break_glass, targets, rules } = parts;
    let file = document.file.clone();
    let hash = HEXLOWER.encode(digest::digest(&digest::SHA256, document.text.as_bytes()).as_ref());
    let rules = Arc::new(rules);
    Ok(Config {
        file,
        hash,
        broker,
        listen,
        identity,
        store,
        seal,
        token,
        audit,
        limits,
        break_glass,
        targets,
        rules,
        places,
    })
}

/// A [`Config`] without what it knows of its file.
struct Parts {
    broker: BrokerConfig,
    listen: Listen,
    identity: IdentityConfig,
    store: StoreConfig,
    seal: Option<SealConfig>,
    token: Option<TokenConfig>,
    audit: Vec<AuditSink>,
    limits: Limits,
    break_glass: Option<PathBuf>,
    targets: BTreeMap<String, Target>,
    rules: Rules,
}

impl Parts {
    /// Reads every part, whatever is wrong with the others. `None`: at least one is missing, and it was said why.
    fn read(root: Section<'_>, kinds: &[Box<dyn EngineKind>], instance: &str, base: &Path) -> Option<Self> {
        let broker = server::broker(&root, base);
        let data_dir = broker.as_ref().map(|b| b.data_dir.as_path());
        let listen = server::listen(&root, base);
        let identity = identity::identity(&root, base, data_dir);
        let store = store::store(&root, base, data_dir);
        let seal = seal::seal(&root, base);
        let token = token::token(&root, root.has("seal"));
        let audit = audit::audit(&root, base, data_dir);
        let limits = server::limits(&root);
        let break_glass = break_glass::break_glass(&root, base, data_dir);
        let maker = TargetMaker {
            kinds,
            // Without a good one the file is refused anyway; this is to find what else is wrong.
            cluster: broker.as_ref().map_or_else(|| "unnamed".parse().ok(), |b| Some(b.cluster.clone()))?,
            instance,
            base,
            zones: broker.as_ref().and_then(|b| b.zones.as_deref()),
            issues: root.has("token"),
            recoverable: seal.as_ref().is_some_and(|seal| seal.as_ref().is_some_and(|seal| seal.recovery.is_some())),
        };
        let targets = maker.targets(&root);
        let roles = targets::roles(&root, &targets, &limits);
        let known = grants::Known { roles: &roles, targets: &targets, bundles: identity.as_ref().map(|i| &i.bundles) };
        let grants = grants::grants(&root, &known);
        root.finish();
        let rules = Rules { roles: roles.good, grants };
        Some(Self {
            broker: broker?,
            listen: listen?,
            identity: identity?,
            store: store?,
            seal: seal?,
            token: token?,
            audit: audit?,
            limits,
            break_glass: break_glass?,
            targets: targets.good,
            rules,
        })
    }
}

impl Config {
    /// An error about `key`, such as `roles.orders-read.member_of`, for what is found out after loading: it names the
    /// line of the key, or of the nearest table around it.
    pub fn error(&self, key: &str, why: &str) -> ConfigError {
        ConfigError::new(self.file.clone(), Some(self.places.line(key)), key, why)
    }
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
    /// What an issuer of tokens publishes, without client certificates.
    pub public: Option<PublicListen>,
}

/// The public listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicListen {
    /// Where.
    pub address: SocketAddr,
    /// The certificate that it shows; the broker's SVID unless there is one.
    pub tls: Option<ClientCert>,
}

/// `[store]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreConfig {
    /// `sqlite://<path>`, for one broker.
    Sqlite(PathBuf),
    /// `postgres://<user>@<host>:<port>/<database>`, for any number of brokers.
    Postgres(Box<PostgresStore>),
}

/// A store in a PostgreSQL server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresStore {
    /// Where it is, and who we are there.
    pub address: Address,
    /// How the way to it is protected.
    pub tls: Tls,
    /// Our password, read again at each connect. `None`: it lets us in by certificate or peer.
    pub password: Option<SecretSource>,
}

impl std::fmt::Display for PostgresStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Address { user, host, port, database } = &self.address;
        write!(f, "postgres://{user}@{host}:{port}/{database}")
    }
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
    /// Out of service: nothing is minted or renewed in it, what lives runs to its end; it may then be dropped from the file.
    pub retired: bool,
    /// How often its admin login gets another password by itself.
    pub rotate_admin_every: Option<Duration>,
    /// Who may ask whether a token is good: those that tokens are sent to.
    pub verifiers: Vec<IdPattern>,
    /// Its engine, made from its settings.
    pub engine: Arc<dyn Engine>,
    /// SHA-256 of its settings as written: two configs with the same one mean the same target.
    pub settings_hash: String,
    /// Where it is. Another place is another target, whose leases are not those of this one.
    pub points_at: PointsAt,
}

/// Where a target is: its plugin and its URL without login and options. No secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointsAt {
    /// The kind of its engine.
    pub plugin: String,
    /// `scheme://host:port/path`, or a hash of all settings where there is no URL.
    pub place: String,
}
