//! `[[forward_auth]]`: where proxies ask whether a token is good.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use leasehold_client::ClientError;
use leasehold_client::token::{KeySource, StatusPolicy, Verifier, VerifierConfig};
use leasehold_identity::SpiffeId;

use crate::config::section::{Field, Section};

/// The header in which a proxy forwards its client's certificate, unless said.
const CERTIFICATE_HEADER: &str = "x-client-cert";

/// Longest name of a header, in bytes.
const HEADER_NAME_BYTES_MAX: usize = 64;

/// One place where verdicts are given, for one audience.
#[derive(Debug, Clone)]
pub struct ForwardAuthConfig {
    /// Where it listens.
    pub listen: ListenOn,
    /// Who may ask, over mTLS, and forward its clients' certificates. Empty: everybody who can connect, and nobody forwards any.
    pub trusted_proxies: BTreeSet<SpiffeId>,
    /// The header with the forwarded certificate, in lower case.
    pub certificate_header: String,
    /// Where the issuer's keys come from.
    pub keys: KeysFrom,
    /// The rest. Its own source of keys is not to be used.
    rules: VerifierConfig,
}

/// Where it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenOn {
    /// A port; on loopback, unless proxies prove who they are.
    Port(SocketAddr),
    /// A Unix socket.
    Socket(PathBuf),
}

/// Where the issuer's keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeysFrom {
    /// Its public listener, which shows the SVID of the agent's own broker.
    Broker,
    /// The same with a certificate for its host name; of these authorities, or of the public web's.
    Web(Option<PathBuf>),
    /// Files that were exported from it.
    Folder(PathBuf),
}

impl ForwardAuthConfig {
    /// What the verifier goes by, with keys from here.
    pub fn verifier(&self, keys: KeySource) -> Result<Verifier, ClientError> {
        Verifier::new(self.rules.clone().with_keys(keys))
    }
}

pub(super) fn all(root: &Section<'_>, base: &Path) -> Option<Vec<ForwardAuthConfig>> {
    let all: Vec<_> = root.sections("forward_auth").into_iter().map(|section| one(&section, base)).collect();
    all.into_iter().collect()
}

fn one(section: &Section<'_>, base: &Path) -> Option<ForwardAuthConfig> {
    section.require("listen", "where proxies ask, such as \"127.0.0.1:9466\" or \"unix:/run/leasehold/auth.sock\"");
    section.require("issuer", "the issuer's URL, exactly as [token] issuer of the broker has it");
    section.require("audience", "the audience, exactly as the token target has it");
    let listen = section.string("listen").and_then(|field| listen(&field, base));
    let proxies = proxies(section);
    let header = section.string("certificate_header").map_or(Some(CERTIFICATE_HEADER.to_owned()), |f| header(&f));
    if header.is_some() && section.has("certificate_header") && !section.has("trusted_proxies") {
        section.wrong("certificate_header", "needs trusted_proxies: nobody else's word on a certificate counts");
        return None;
    }
    let keys = if section.has("keys") {
        section.section("keys").and_then(|keys| self::keys(&keys, base))
    } else {
        Some(KeysFrom::Broker)
    };
    let rules = rules(section);
    section.finish_here();
    let (listen, trusted_proxies) = (listen?, proxies?);
    if let ListenOn::Port(addr) = &listen
        && trusted_proxies.is_empty()
        && !addr.ip().is_loopback()
    {
        let why = "must be a loopback address, or trusted_proxies say who may ask over mTLS: verdicts in clear can be changed on their way";
        section.wrong("listen", why);
        return None;
    }
    Some(ForwardAuthConfig { listen, trusted_proxies, certificate_header: header?, keys: keys?, rules: rules? })
}

fn listen(field: &Field<'_, &str>, base: &Path) -> Option<ListenOn> {
    field.read(|text| match text.strip_prefix("unix:") {
        Some("") => Err("names no socket"),
        Some(path) => Ok(ListenOn::Socket(base.join(path))),
        None => text
            .parse()
            .map(ListenOn::Port)
            .map_err(|_| "must be an address and a port, or unix: and a path, such as \"127.0.0.1:9466\""),
    })
}

fn proxies(section: &Section<'_>) -> Option<BTreeSet<SpiffeId>> {
    if !section.has("trusted_proxies") {
        return Some(BTreeSet::new());
    }
    let list = section.strings("trusted_proxies")?;
    let read =
        |item: &Field<'_, &str>| item.read(|text| SpiffeId::parse(text).map_err(|e| format!("is no SPIFFE ID: {e}")));
    let all: Vec<_> = list.value.iter().map(read).collect();
    let all: BTreeSet<_> = all.into_iter().collect::<Option<_>>()?;
    if all.is_empty() {
        list.wrong("names nobody; leave it out where no proxy proves who it is");
        return None;
    }
    Some(all)
}

fn header(field: &Field<'_, &str>) -> Option<String> {
    field.read(|text| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        let is_name = (1..=HEADER_NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(fits);
        if is_name {
            Ok(text.to_ascii_lowercase())
        } else {
            Err("must be the name of a header, such as \"X-Client-Cert\"")
        }
    })
}

fn keys(section: &Section<'_>, base: &Path) -> Option<KeysFrom> {
    let (folder, ca) = (section.path("folder", base), section.path("ca", base));
    let web = section.flag("web").unwrap_or(false);
    section.finish_here();
    match (folder, ca, web) {
        (Some(folder), None, false) => Some(KeysFrom::Folder(folder)),
        (None, Some(ca), false) => Some(KeysFrom::Web(Some(ca))),
        (None, None, true) => Some(KeysFrom::Web(None)),
        _ => {
            section.wrong("", "must have one of folder = \"…\", ca = \"…\" and web = true");
            None
        }
    }
}

fn rules(section: &Section<'_>) -> Option<VerifierConfig> {
    let text = |key| section.string(key).map(|f| f.value.to_owned());
    let (issuer, audience) = (text("issuer"), text("audience"));
    let is_bound = section.flag("require_certificate").unwrap_or(true);
    let status = section.string("status").map_or(Some(StatusPolicy::default()), |f| f.read(|text| policy(text)));
    let optional = |key| if section.has(key) { section.duration(key).map(Some) } else { Some(None) };
    let (renewed, leeway) = (optional("renewed_certificate"), optional("leeway"));
    // The keys are not what this is about: the folder is never opened.
    let mut rules = VerifierConfig::new(issuer?, audience?, KeySource::Folder(PathBuf::new())).status(status?);
    if !is_bound {
        rules = rules.accept_unbound();
    }
    if let Some(window) = renewed? {
        rules = rules.accept_renewed_certificate(window);
    }
    if let Some(leeway) = leeway?.map(|leeway: Duration| leeway) {
        rules = rules.leeway(leeway);
    }
    match Verifier::new(rules.clone()) {
        Ok(_) => Some(rules),
        Err(ClientError::Setting { setting, why }) => {
            section.wrong(setting, why);
            None
        }
        Err(error) => {
            section.wrong("", error.to_string());
            None
        }
    }
}

fn policy(text: &str) -> Result<StatusPolicy, &'static str> {
    match text {
        "ignore" => Ok(StatusPolicy::Ignore),
        "if_reachable" => Ok(StatusPolicy::IfReachable),
        "require" => Ok(StatusPolicy::Require),
        _ => Err("must be ignore, if_reachable or require"),
    }
}
