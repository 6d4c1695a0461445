//! `agent.toml`: every error names file, line and key.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use leasehold_client::{Settings, Wanted};
use rustix::process::Signal;

use super::forms::Form;
use crate::config::section::{Section, check_name};
use crate::config::{ConfigErrors, key_source, read_file};
use crate::seal::KeySource;

/// How long a command may take unless its hook says otherwise.
const HOOK_TIME_DEFAULT: Duration = Duration::from_secs(10);
/// The longest that it may say.
const HOOK_TIME_MAX: Duration = Duration::from_secs(600);
/// How long a child may take to end before it is killed.
const STOP_TIME_DEFAULT: Duration = Duration::from_secs(30);
/// Mode of a file unless it says otherwise: its owner alone.
const MODE_DEFAULT: u32 = 0o600;

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
    /// `[credentials.*]`, at least one.
    pub credentials: BTreeMap<String, CredentialConfig>,
    /// `[exec]`: the service as a child.
    pub exec: Option<ExecConfig>,
}

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

/// One credential that is kept.
#[derive(Debug)]
pub struct CredentialConfig {
    /// What to ask the broker for.
    pub wanted: Wanted,
    /// Whether its leases are revoked when the agent ends.
    pub revoke_on_exit: bool,
    /// Who acknowledges generations: once all of them have, what came before is ended early.
    pub consumers: BTreeSet<String>,
    /// The files to write, by directory: those of one directory change as one.
    pub folders: BTreeMap<PathBuf, Vec<FileConfig>>,
    /// What is done after a new generation was delivered, in this order.
    pub on_change: Vec<HookConfig>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileConfig {
    /// Its name in its directory.
    pub name: String,
    /// What is in it.
    pub content: FileContent,
    /// Its mode.
    pub mode: u32,
}

/// What is in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileContent {
    /// A form that its readers know.
    Form(Form),
    /// Whatever this template says.
    Template(PathBuf),
}

/// Something to be done after a change.
#[derive(Debug, Clone)]
pub struct HookConfig {
    /// What.
    pub deed: Deed,
    /// The consumer whose acknowledgement its success is.
    pub acks: Option<String>,
}

/// What a hook does.
#[derive(Debug, Clone)]
pub enum Deed {
    /// Runs a program, without a shell; it must exit 0 within the time.
    Run {
        /// The program and its arguments.
        command: Vec<String>,
        /// The time.
        timeout: Duration,
    },
    /// Signals a process.
    Signal {
        /// The signal.
        signal: Signal,
        /// The file with the process's id.
        pid_file: PathBuf,
    },
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
        let credentials = credentials(&root, base);
        root.finish();
        Some(AgentConfig {
            broker: broker?,
            state: state?,
            socket: all_or_none(socket)?,
            listen: all_or_none(listen)?,
            credentials: credentials?,
            exec: all_or_none(exec)?,
        })
    })
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

fn credentials(root: &Section<'_>, base: &Path) -> Option<BTreeMap<String, CredentialConfig>> {
    let table = root.section_or_empty("credentials");
    let all = table.named_sections();
    if all.is_empty() {
        root.wrong("credentials", "is missing: [credentials.NAME] with role = \"…\", one for each credential to keep");
    }
    let mut taken: BTreeMap<PathBuf, String> = BTreeMap::new();
    let mut read = BTreeMap::new();
    let mut whole = true;
    for (name, section) in all {
        let Some(credential) = credential(&section, base) else {
            whole = false;
            continue;
        };
        for dir in credential.folders.keys() {
            // Two would take turns in replacing each other's files.
            if let Some(other) = taken.insert(dir.clone(), name.to_owned()) {
                let why =
                    format!("{} is the directory of {other}: each credential needs one of its own", dir.display());
                section.wrong("files", why);
                whole = false;
            }
        }
        read.insert(name.to_owned(), credential);
    }
    whole.then_some(read).filter(|read| !read.is_empty())
}

fn credential(section: &Section<'_>, base: &Path) -> Option<CredentialConfig> {
    section.require("role", "the role to ask for");
    let role = section.name("role").map(|f| f.value.to_owned());
    let ttl = section.string("ttl").map(|f| f.value.to_owned());
    let params = section.section("params").map(|params| params.strings_by_name());
    let revoke_on_exit = section.flag("revoke_on_exit").unwrap_or(false);
    let consumers = section.strings("consumers").map_or(Some(BTreeSet::new()), |names| {
        names.value.iter().map(|name| name.read(|s| check_name(s)).map(|()| name.value.to_owned())).collect()
    });
    let files: Option<Vec<_>> = section.sections("files").into_iter().map(|file| self::file(file, base)).collect();
    let on_change: Option<Vec<_>> = section.sections("on_change").into_iter().map(|one| hook(one, base)).collect();
    section.finish_here();
    let (consumers, on_change) = (consumers?, on_change?);
    let mut folders: BTreeMap<PathBuf, Vec<FileConfig>> = BTreeMap::new();
    for (dir, file) in files? {
        let beside = folders.entry(dir).or_default();
        if beside.iter().any(|other| other.name == file.name) {
            section.wrong("files", format!("{} is there twice", file.name));
            return None;
        }
        beside.push(file);
    }
    for hook in &on_change {
        if let Some(who) = hook.acks.as_ref().filter(|who| !consumers.contains(*who)) {
            section.wrong("on_change", format!("acks = {who:?}: there is no such consumer in consumers"));
            return None;
        }
    }
    let params = params.map_or(Some(None), |params| params.map(Some))?;
    Some(CredentialConfig {
        wanted: Wanted { role: role?, ttl, params },
        revoke_on_exit,
        consumers,
        folders,
        on_change,
    })
}

fn file(section: Section<'_>, base: &Path) -> Option<(PathBuf, FileConfig)> {
    section.require("path", "where the file is to be");
    let path = section.path("path", base);
    let form = section.string("format").map(|f| {
        let known = || Form::NAMES.map(|(name, _)| name).join(", ");
        let found = Form::NAMES.iter().find(|(name, _)| *name == f.value).map(|(_, form)| *form);
        f.read(|_| found.ok_or_else(|| format!("must be one of {}", known())))
    });
    let template = section.path("template", base);
    let content = match (form, template) {
        (Some(form), None) => form.map(FileContent::Form),
        (None, Some(template)) => Some(FileContent::Template(template)),
        _ => {
            section.wrong("", "must have either format = \"json\" or template = \"…\"");
            None
        }
    };
    let mode = section.string("mode").map_or(Some(MODE_DEFAULT), |f| f.read(|text| mode(text)));
    section.finish_here();
    let path = path?;
    let place = path.parent().zip(path.file_name().and_then(|name| name.to_str()));
    let Some((dir, name)) = place.filter(|(_, name)| !name.starts_with("..")) else {
        section.wrong("path", "must be the path of a file, whose name is UTF-8 and does not begin with two dots");
        return None;
    };
    Some((dir.to_owned(), FileConfig { name: name.to_owned(), content: content?, mode: mode? }))
}

fn mode(text: &str) -> Result<u32, &'static str> {
    let why = "must be an octal mode such as \"0640\", without write for others";
    let mode = u32::from_str_radix(text, 8).map_err(|_| why)?;
    if mode & !0o777 == 0 && mode & 0o002 == 0 && mode & 0o400 != 0 { Ok(mode) } else { Err(why) }
}

fn hook(section: Section<'_>, base: &Path) -> Option<HookConfig> {
    section.later("url", "calling a URL");
    section.later("pgbouncer", "PgBouncer's admin console");
    let run = section.strings("run").map(|list| list.value.iter().map(|arg| arg.value.to_owned()).collect::<Vec<_>>());
    let timeout = section.duration("timeout");
    let signal = section.string("signal").map(|f| f.read(|name| signal(name)));
    let pid_file = section.path("pid_file", base);
    let acks = section.string("acks").map(|f| f.value.to_owned());
    section.finish_here();
    if timeout.is_some_and(|timeout| timeout > HOOK_TIME_MAX || timeout.is_zero()) {
        section.wrong("timeout", "must be more than 0 and at most 10m");
        return None;
    }
    let deed = match (run, signal) {
        (Some(command), None) if !command.is_empty() => {
            Deed::Run { command, timeout: timeout.unwrap_or(HOOK_TIME_DEFAULT) }
        }
        (None, Some(signal)) => {
            section.require("pid_file", "the file with the id of the process to signal");
            Deed::Signal { signal: signal?, pid_file: pid_file? }
        }
        _ => {
            section
                .wrong("", "must have either run = [\"program\", \"argument\"] or signal = \"SIGHUP\" with pid_file");
            return None;
        }
    };
    Some(HookConfig { deed, acks })
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
