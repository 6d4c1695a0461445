//! `[credentials.*]`: what is kept, and how it is handed on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;
use leasehold_client::Wanted;
use leasehold_pglink::Address;
use leasehold_sdk::SecretSource;
use rustix::process::Signal;

use super::{ListenConfig, signal};
use crate::agent::forms::{Form, Holds};
use crate::config::section::{Section, StringOrSection, check_name};

/// How long a command may take unless its hook says otherwise.
const HOOK_TIME_DEFAULT: Duration = Duration::from_secs(10);
/// The longest that it may say.
const HOOK_TIME_MAX: Duration = Duration::from_secs(600);
/// Mode of a file unless it says otherwise: its owner alone.
const MODE_DEFAULT: u32 = 0o600;

/// One credential that is kept.
#[derive(Debug)]
pub struct CredentialConfig {
    /// What to ask the broker for.
    pub wanted: Wanted,
    /// Whether its leases are revoked when the agent ends.
    pub revoke_on_exit: bool,
    /// The file with the token by which the SDKs of AWS ask for it on the port of `listen`; made if it is not there.
    pub aws_token_file: Option<PathBuf>,
    /// Who acknowledges generations: once all of them have, what came before is ended early.
    pub consumers: Consumers,
    /// The files to write, by directory: those of one directory change as one.
    pub folders: BTreeMap<PathBuf, Vec<FileConfig>>,
    /// What is done after a new generation was delivered, in this order.
    pub on_change: Vec<HookConfig>,
}

/// Consumers by name, with the one user who may speak for each, where it is not everybody.
pub type Consumers = BTreeMap<String, Option<u32>>;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileConfig {
    /// Its name in its directory.
    pub name: String,
    /// What is in it.
    pub content: FileContent,
    /// Its mode.
    pub mode: u32,
    /// Its user and group; the agent's own unless said.
    pub owner: Option<(u32, u32)>,
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
    /// Posts to a URL, which must answer 2xx within the time.
    Call {
        /// `http` or `https`; a server of `https` must be known to the public web's CAs.
        url: Uri,
        /// The time.
        timeout: Duration,
    },
    /// Lets a PgBouncer log in by what is there now, on its admin console.
    PgBouncer {
        /// The console.
        console: Address,
        /// The password for it; none where the socket's peer is enough.
        password: Option<SecretSource>,
        /// Whether to wait until no connection of before is left: else nobody could say that it has been changed.
        drain: bool,
        /// The time.
        timeout: Duration,
    },
}

/// What else the file says that credentials must fit.
pub(super) struct Around<'a> {
    /// The users that the socket hears; none without a socket, and not known with a wrong one.
    pub heard: Option<&'a BTreeSet<u32>>,
    /// The port; the inner is not known with a wrong one.
    pub listen: Option<Option<&'a ListenConfig>>,
}

pub(super) fn credentials(
    root: &Section<'_>,
    base: &Path,
    around: &Around<'_>,
) -> Option<BTreeMap<String, CredentialConfig>> {
    let table = root.section_or_empty("credentials");
    let all = table.named_sections();
    // An agent may be there for its verdicts alone.
    let may_be_none = root.has("forward_auth");
    if all.is_empty() && !may_be_none {
        root.wrong("credentials", "is missing: [credentials.NAME] with role = \"…\", one for each credential to keep");
    }
    let mut taken: BTreeMap<PathBuf, String> = BTreeMap::new();
    let mut tokens: BTreeMap<PathBuf, String> = BTreeMap::new();
    tokens.extend(around.listen.flatten().map(|listen| (listen.token_file.clone(), "listen".to_owned())));
    let mut read = BTreeMap::new();
    let mut whole = true;
    for (name, section) in all {
        let Some(credential) = credential(&section, base, around) else {
            whole = false;
            continue;
        };
        if let Some(file) = &credential.aws_token_file
            && let Some(other) = tokens.insert(file.clone(), name.to_owned())
        {
            let why = format!("{} is the token of {other}: it would open both", file.display());
            section.wrong("aws_token_file", why);
            whole = false;
        }
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
    whole.then_some(read).filter(|read| may_be_none || !read.is_empty())
}

fn credential(section: &Section<'_>, base: &Path, around: &Around<'_>) -> Option<CredentialConfig> {
    section.require("role", "the role to ask for");
    let role = section.name("role").map(|f| f.value.to_owned());
    let ttl = section.string("ttl").map(|f| f.value.to_owned());
    let scope = section.string("scope").map(|f| f.read(|text| scope(text)));
    let params = section.section("params").map(|params| params.strings_by_name());
    let revoke_on_exit = section.flag("revoke_on_exit").unwrap_or(false);
    let aws_token_file = aws_token_file(section, base, around);
    let consumers = consumers(section, around.heard);
    let files: Option<Vec<_>> = section.sections("files").into_iter().map(|file| self::file(file, base)).collect();
    let on_change: Option<Vec<_>> = section.sections("on_change").into_iter().map(|one| hook(one, base)).collect();
    section.finish_here();
    let (aws_token_file, consumers, on_change) = (aws_token_file?, consumers?, on_change?);
    let mut folders: BTreeMap<PathBuf, Vec<FileConfig>> = BTreeMap::new();
    for (dir, file) in files? {
        let beside = folders.entry(dir).or_default();
        if beside.iter().any(|other| other.name == file.name) {
            section.wrong("files", format!("{} is there twice", file.name));
            return None;
        }
        beside.push(file);
    }
    let scoped = scope.is_some().then_some(("scope", Holds::Tokens));
    one_kind(
        section,
        &folders,
        scoped.into_iter().chain(aws_token_file.is_some().then_some(("aws_token_file", Holds::Aws))),
    )?;
    for hook in &on_change {
        if let Some(who) = hook.acks.as_ref().filter(|who| !consumers.contains_key(*who)) {
            section.wrong("on_change", format!("acks = {who:?}: there is no such consumer in consumers"));
            return None;
        }
    }
    let params = params.map_or(Some(None), |params| params.map(Some))?;
    let scope = scope.map_or(Some(None), |scope| scope.map(Some))?;
    Some(CredentialConfig {
        wanted: Wanted { role: role?, ttl, params, scope },
        revoke_on_exit,
        aws_token_file,
        consumers,
        folders,
        on_change,
    })
}

fn aws_token_file(section: &Section<'_>, base: &Path, around: &Around<'_>) -> Option<Option<PathBuf>> {
    if !section.has("aws_token_file") {
        return Some(None);
    }
    if around.listen.is_none() {
        section.wrong(
            "aws_token_file",
            "needs listen = { addr = \"127.0.0.1:8450\", … }: the port that the SDKs of AWS ask",
        );
        return None;
    }
    section.path("aws_token_file", base).map(Some)
}

/// Which scopes a token is to have.
fn scope(text: &str) -> Result<String, &'static str> {
    let is_scope = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_graphic());
    if text.split(' ').all(is_scope) {
        Ok(text.to_owned())
    } else {
        Err("must be scopes with one space between, such as \"payments:read\"")
    }
}

/// Which kind the role gives is only known to the broker; but one file cannot be for a login and another for a token.
/// `signs`: other keys that are for one kind only.
fn one_kind(
    section: &Section<'_>,
    folders: &BTreeMap<PathBuf, Vec<FileConfig>>,
    signs: impl IntoIterator<Item = (&'static str, Holds)>,
) -> Option<()> {
    let forms = folders.values().flatten().filter_map(|file| match &file.content {
        FileContent::Form(form) => Some((format!("the format {}", form.name()), form.holds())),
        FileContent::Template(_) => None,
    });
    let signs = signs.into_iter().map(|(key, kind)| (key.to_owned(), kind));
    let mut signs = forms.chain(signs).filter(|(_, kind)| *kind != Holds::All);
    let Some((first, kind)) = signs.next() else { return Some(()) };
    let Some((other, its_kind)) = signs.find(|(_, its_kind)| *its_kind != kind) else { return Some(()) };
    let (about, its_about, fits) = (kind.about(), its_kind.about(), its_kind.forms());
    section.wrong("files", format!("{first} is for {about}, and {other} for {its_about}, which can be {fits}"));
    None
}

fn consumers(section: &Section<'_>, heard: Option<&BTreeSet<u32>>) -> Option<Consumers> {
    if !section.has("consumers") {
        return Some(Consumers::new());
    }
    let consumer = |item: StringOrSection<'_>| match item {
        StringOrSection::String(name) => {
            name.read(|name| check_name(name))?;
            Some((name.value.to_owned(), None))
        }
        StringOrSection::Section(table) => {
            table.require("name", "the name that it acknowledges by");
            table.require("uid", "the number of the user who may speak for it; else its name alone is enough");
            let name = table.name("name").map(|name| name.value.to_owned());
            let uid = table.integer("uid", u64::from(u32::MAX - 1)).and_then(|uid| u32::try_from(uid).ok());
            table.finish_here();
            if heard.is_some_and(|heard| uid.is_some_and(|uid| !heard.contains(&uid))) {
                table.wrong("uid", "is not in socket.uids: nobody else's user is known, so it would never be heard");
                return None;
            }
            Some((name?, Some(uid?)))
        }
    };
    let items: Vec<_> = section.strings_or_sections("consumers")?.into_iter().map(consumer).collect();
    let mut all = Consumers::new();
    for (name, uid) in items.into_iter().collect::<Option<Vec<_>>>()? {
        if all.contains_key(&name) {
            section.wrong("consumers", format!("{name} is there twice"));
            return None;
        }
        all.insert(name, uid);
    }
    Some(all)
}

fn file(section: Section<'_>, base: &Path) -> Option<(PathBuf, FileConfig)> {
    section.require("path", "where the file is to be");
    let path = section.path("path", base);
    let form = section.string("format").map(|f| {
        let known = || Form::ALL.iter().map(|form| form.name()).collect::<Vec<_>>().join(", ");
        let found = Form::ALL.iter().copied().find(|form| form.name() == f.value);
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
    let owner = section.string("owner").map(|f| f.read(|text| owner(text)));
    section.finish_here();
    let path = path?;
    let owner = owner.map_or(Some(None), |owner| owner.map(Some))?;
    let place = path.parent().zip(path.file_name().and_then(|name| name.to_str()));
    let Some((dir, name)) = place.filter(|(_, name)| !name.starts_with("..")) else {
        section.wrong("path", "must be the path of a file, whose name is UTF-8 and does not begin with two dots");
        return None;
    };
    Some((dir.to_owned(), FileConfig { name: name.to_owned(), content: content?, mode: mode?, owner }))
}

fn mode(text: &str) -> Result<u32, &'static str> {
    let why = "must be an octal mode such as \"0640\", without write for others";
    let mode = u32::from_str_radix(text, 8).map_err(|_| why)?;
    if mode & !0o777 == 0 && mode & 0o002 == 0 && mode & 0o400 != 0 { Ok(mode) } else { Err(why) }
}

fn owner(text: &str) -> Result<(u32, u32), &'static str> {
    let numbers = text.split_once(':').and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)));
    numbers.ok_or("must be the numbers of a user and a group, such as \"1000:1000\"")
}

fn hook(section: Section<'_>, base: &Path) -> Option<HookConfig> {
    let acks = section.string("acks").map(|f| f.value.to_owned());
    let timeout = section.duration("timeout").unwrap_or(HOOK_TIME_DEFAULT);
    let kinds = ["run", "signal", "url", "pgbouncer"];
    let kinds: Vec<_> = kinds.into_iter().filter(|kind| section.has(kind)).collect();
    let deed = match kinds[..] {
        ["run"] => run(&section, timeout),
        ["signal"] => signal_of(&section, base),
        ["url"] => section.string("url").and_then(|f| Some(Deed::Call { url: f.read(|text| url(text))?, timeout })),
        ["pgbouncer"] => pgbouncer(&section, base, acks.is_some(), timeout),
        _ => {
            let why = "must have one of run = [\"program\", \"argument\"], url = \"http://…\", signal = \"SIGHUP\" with pid_file, \
                       and pgbouncer = \"postgres://admin@127.0.0.1:6432/pgbouncer\"";
            section.wrong("", why);
            None
        }
    };
    section.finish_here();
    if timeout > HOOK_TIME_MAX || timeout.is_zero() {
        section.wrong("timeout", "must be more than 0 and at most 10m");
        return None;
    }
    Some(HookConfig { deed: deed?, acks })
}

fn run(section: &Section<'_>, timeout: Duration) -> Option<Deed> {
    let command: Vec<_> = section.strings("run")?.value.iter().map(|arg| arg.value.to_owned()).collect();
    if command.is_empty() {
        section.wrong("run", "names no program");
        return None;
    }
    Some(Deed::Run { command, timeout })
}

fn signal_of(section: &Section<'_>, base: &Path) -> Option<Deed> {
    section.require("pid_file", "the file with the id of the process to signal");
    let signal = section.string("signal").and_then(|f| f.read(|name| signal(name)));
    let pid_file = section.path("pid_file", base);
    Some(Deed::Signal { signal: signal?, pid_file: pid_file? })
}

fn pgbouncer(section: &Section<'_>, base: &Path, drain: bool, timeout: Duration) -> Option<Deed> {
    let console = section.string("pgbouncer").and_then(|f| f.read(|url| console(url)));
    let password = section.has("password").then(|| section.secret("password", base));
    let password = password.map_or(Some(None), |source| source.map(Some))?;
    Some(Deed::PgBouncer { console: console?, password, drain, timeout })
}

/// The agent stands beside it: nothing that would have to be protected lies between.
fn console(url: &str) -> Result<Address, String> {
    let console = Address::parse(url)?;
    if !console.is_local() {
        return Err(
            "must be on this machine: a loopback address, or the directory of a socket as %2Frun%2Fpgbouncer".into()
        );
    }
    if console.database != "pgbouncer" {
        return Err("must end with /pgbouncer: that is the database of the admin console".into());
    }
    Ok(console)
}

fn url(text: &str) -> Result<Uri, &'static str> {
    let url = text.parse::<Uri>().ok().filter(|url| matches!(url.scheme_str(), Some("http" | "https")));
    url.filter(|url| url.host().is_some_and(|host| !host.is_empty())).ok_or("must be an http or https URL")
}
