//! `agent.toml`: every error names file, line and key.

mod credentials;
mod forward_auth;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use leasehold_client::Settings;
use leasehold_sdk::SecretSource;
use rustix::process::Signal;

use crate::config::section::Section;
use crate::config::{ConfigErrors, key_source, read_file};
use crate::seal::KeySource;

use credentials::{Around, credentials};
pub use credentials::{Consumers, CredentialConfig, Deed, FileConfig, FileContent, HookConfig};
pub use forward_auth::{ForwardAuthConfig, KeysFrom, ListenOn};

/// How long a child may take to end before it is killed: whoever stops the agent is promised 20 s, and leases are revoked after it.
const STOP_TIME_DEFAULT: Duration = Duration::from_secs(10);

/// A checked `agent.toml`.
#[derive(Debug)]
pub struct AgentConfig {
    /// Which broker, and who we are.
    pub broker: Settings,
    /// `state` and `state_key`: what outlives the agent.
    pub state: Option<StateConfig>,
    /// `socket`: where credentials are asked for.
    pub socket: Option<SocketConfig>,
    /// `listen`: the same for those who can only speak to a port.
    pub listen: Option<ListenConfig>,
    /// `[[forward_auth]]`: where proxies ask for verdicts on tokens.
    pub forward_auth: Vec<ForwardAuthConfig>,
    /// `[credentials.*]`, at least one unless there is a `[[forward_auth]]`.
    pub credentials: BTreeMap<String, CredentialConfig>,
    /// `[exec]`: the service as a child.
    pub exec: Option<ExecConfig>,
    /// The variables of our environment that hold secrets of ours: no program that we start gets them.
    pub withheld: Withheld,
}

/// Names of environment variables.
pub type Withheld = Arc<[String]>;

/// Where the state is kept, and the key that seals it.
#[derive(Debug, Clone)]
pub struct StateConfig {
    /// Its directory.
    pub dir: PathBuf,
    /// 32 random bytes in base64, from somewhere that is not the disk.
    pub key: KeySource,
}

/// A port on loopback, and what opens it.
#[derive(Debug, Clone)]
pub struct ListenConfig {
    /// Its address.
    pub addr: SocketAddr,
    /// The file with the bearer token, for its owner alone; made if it is not there.
    pub token_file: PathBuf,
}

/// The service as a child.
#[derive(Debug, Clone)]
pub struct ExecConfig {
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// Templates of what it gets into its environment.
    pub env: BTreeMap<String, String>,
    /// What it is told of a change.
    pub on_change: OnChange,
    /// How long it may take to end before it is killed.
    pub stop_timeout: Duration,
}

/// What a child is told of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnChange {
    /// Nothing: it reads its files.
    Nothing,
    /// A signal.
    Signal(Signal),
    /// It is ended and started again with the new environment.
    Restart,
}

/// A Unix socket, and who may talk to it.
#[derive(Debug, Clone)]
pub struct SocketConfig {
    /// Its path.
    pub path: PathBuf,
    /// The users that are let in; the kernel says who somebody is.
    pub uids: BTreeSet<u32>,
}

/// Reads and checks the file. Paths in it start at its directory.
///
/// # Errors
/// Everything that is wrong with it, in its order.
pub fn load(path: &Path) -> Result<AgentConfig, ConfigErrors> {
    read_file(path, |root, base| {
        let broker = broker(&root, base);
        let state = state(&root, base);
        let socket = root.section("socket").map(|section| socket(section, base));
        let listen = root.section("listen").map(|section| listen(section, base));
        let exec = root.section("exec").map(|section| exec(&section));
        let forward_auth = forward_auth::all(&root, base);
        let heard = match &socket {
            None => Some(BTreeSet::new()),
            Some(socket) => socket.as_ref().map(|socket| socket.uids.clone()),
        };
        let around = Around { heard: heard.as_ref(), listen: listen.as_ref().map(Option::as_ref) };
        let credentials = credentials(&root, base, &around);
        root.finish();
        let (state, credentials) = (state?, credentials?);
        Some(AgentConfig {
            broker: broker?,
            withheld: withheld(state.as_ref(), &credentials),
            state,
            socket: all_or_none(socket)?,
            listen: all_or_none(listen)?,
            forward_auth: forward_auth?,
            credentials,
            exec: all_or_none(exec)?,
        })
    })
}

fn withheld(state: Option<&StateConfig>, credentials: &BTreeMap<String, CredentialConfig>) -> Withheld {
    let key = state.and_then(|state| match &state.key {
        KeySource::Env(name) => Some(name),
        KeySource::File(_) | KeySource::SystemdCredential(_) | KeySource::Command(_) => None,
    });
    let hooks = credentials.values().flat_map(|credential| &credential.on_change);
    let passwords = hooks.filter_map(|hook| match &hook.deed {
        Deed::PgBouncer { password: Some(SecretSource::Env(name)), .. } => Some(name),
        _ => None,
    });
    key.into_iter().chain(passwords).cloned().collect()
}

fn broker(root: &Section<'_>, base: &Path) -> Option<Settings> {
    root.require("addr", "where the broker is, such as \"https://leasehold.internal:8443\"");
    root.require("svid", "{ cert = \"svid.pem\", key = \"svid-key.pem\" } or { workload_api = \"unix:///…\" }");
    let text = |key| root.string(key).map(|f| f.value.to_owned());
    let found = Settings { addr: text("addr"), broker_id: text("broker_id"), ..Settings::default() };
    let bundle = root.path("bundle", base);
    let svid = root.section("svid")?;
    let settings = if svid.has("workload_api") {
        if root.has("bundle") {
            root.wrong("bundle", "cannot stand beside svid.workload_api, which gives the bundle too");
        }
        let text = |key| svid.string(key).map(|f| f.value.to_owned());
        Settings { workload_api: Some(text("workload_api")?), svid_hint: text("hint"), ..found }
    } else {
        root.require("bundle", "the trust bundle of your domain (PEM or SPIFFE JWKS)");
        svid.require("cert", "a PEM file: the certificate and its intermediates");
        svid.require("key", "a PEM file: the private key");
        let (cert, key) = (svid.path("cert", base), svid.path("key", base));
        Settings { cert: Some(cert?), key: Some(key?), bundle: Some(bundle?), ..found }
    };
    svid.finish();
    settings.addr.is_some().then_some(settings)
}

fn socket(section: Section<'_>, base: &Path) -> Option<SocketConfig> {
    section.require("path", "where the socket is to be");
    section.require("uids", "the numbers of the users that may ask, such as [1000]");
    let path = section.path("path", base);
    let uids = section.integers("uids", u64::from(u32::MAX - 1));
    section.finish();
    let uids = uids?.into_iter().filter_map(|uid| u32::try_from(uid).ok()).collect();
    Some(SocketConfig { path: path?, uids })
}

/// A part that may be left out, but not be wrong.
fn all_or_none<T>(part: Option<Option<T>>) -> Option<Option<T>> {
    part.map_or(Some(None), |read| read.map(Some))
}

fn state(root: &Section<'_>, base: &Path) -> Option<Option<StateConfig>> {
    let dir = root.path("state", base);
    let key = root.section("state_key").map(|table| key_source(table, base));
    match (dir, key) {
        (None, None) => Some(None),
        (Some(dir), Some(key)) => Some(Some(StateConfig { dir, key: key? })),
        (Some(_), None) => {
            root.wrong(
                "state",
                "needs state_key: where the key is that seals it, such as { file = \"/run/leasehold/state.key\" }",
            );
            None
        }
        (None, Some(_)) => {
            root.wrong("state_key", "needs state: the directory that it is for");
            None
        }
    }
}

fn listen(section: Section<'_>, base: &Path) -> Option<ListenConfig> {
    section.require("addr", "a loopback address and port, such as \"127.0.0.1:8450\"");
    section.require("token_file", "the file with the bearer token; made if it is not there");
    let addr = section.string("addr").and_then(|f| {
        f.read(|text| {
            let addr = text.parse::<SocketAddr>().ok().filter(|addr| addr.ip().is_loopback());
            addr.ok_or("must be a loopback address and a port, such as \"127.0.0.1:8450\"")
        })
    });
    let token_file = section.path("token_file", base);
    section.finish();
    Some(ListenConfig { addr: addr?, token_file: token_file? })
}

fn exec(section: &Section<'_>) -> Option<ExecConfig> {
    section.require("command", "the program and its arguments, such as [\"orders-service\"]");
    let command = section.strings("command").map(|list| list.value.iter().map(|arg| arg.value.into()).collect());
    let env = section.section("env").map_or(Some(BTreeMap::new()), |env| env.strings_by_name());
    let on_change = section.string("on_change").map_or(Some(OnChange::Nothing), |f| match f.value {
        "restart" => Some(OnChange::Restart),
        name => f.read(|_| signal(name).map_err(|e| format!("{e}, or restart"))).map(OnChange::Signal),
    });
    let stop_timeout = section.duration("stop_timeout").unwrap_or(STOP_TIME_DEFAULT);
    section.finish_here();
    let command: Vec<OsString> = command?;
    if command.is_empty() {
        section.wrong("command", "names no program");
        return None;
    }
    Some(ExecConfig { command, env: env?, on_change: on_change?, stop_timeout })
}

fn signal(name: &str) -> Result<Signal, String> {
    let known = [
        ("SIGHUP", Signal::HUP),
        ("SIGINT", Signal::INT),
        ("SIGTERM", Signal::TERM),
        ("SIGUSR1", Signal::USR1),
        ("SIGUSR2", Signal::USR2),
        ("SIGWINCH", Signal::WINCH),
    ];
    let found = known.iter().find(|(known, _)| *known == name).map(|(_, signal)| *signal);
    found.ok_or_else(|| format!("must be one of {}", known.map(|(name, _)| name).join(", ")))
}

#[cfg(test)]
mod tests;
