//! `[[audit]]`: where the lines of the audit log go.

use std::fmt;
use std::path::{Path, PathBuf};

use leasehold_identity::{ClientCert, HostTls};
use leasehold_sdk::SecretSource;

use super::section::Section;
use super::server::host_and_port;

/// The port of syslog over TLS (RFC 5425, section 4.1).
const SYSLOG_PORT: u16 = 6514;
const HTTPS_PORT: u16 = 443;

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
    /// A syslog server, over TLS.
    Syslog(Collector),
    /// A server that takes lines by POST.
    Https(HttpsCollector),
}

/// A server that collects lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collector {
    /// Its name or address; by this its certificate is verified.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is known, and what is shown to it.
    pub tls: HostTls,
}

/// One that speaks HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpsCollector {
    /// Where it is.
    pub place: Collector,
    /// Path and query.
    pub path: String,
    /// The value of the `Authorization` header; read at each connect.
    pub authorization: Option<SecretSource>,
}

/// What operators call it. A query may hold a secret and is not shown.
impl fmt::Display for AuditTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Stdout => f.write_str("stdout"),
            Self::Syslog(to) => write!(f, "tls://{}:{}", to.host, to.port),
            Self::Https(HttpsCollector { place, path, .. }) => {
                let port = if place.port == HTTPS_PORT { String::new() } else { format!(":{}", place.port) };
                write!(f, "https://{}{port}{}", place.host, path.split('?').next().unwrap_or_default())
            }
        }
    }
}

pub(super) fn audit(root: &Section<'_>, base: &Path, data_dir: Option<&Path>) -> Option<Vec<AuditSink>> {
    if !root.has("audit") {
        let file = data_dir?.join("audit.jsonl");
        root.sections("audit");
        return Some(vec![AuditSink { to: AuditTo::File(file), required: true }]);
    }
    let mut sinks: Vec<AuditSink> = Vec::new();
    let mut whole = true;
    for section in root.sections("audit") {
        match sink(&section, base) {
            // By its name, which metrics and the log have.
            Some(sink) if sinks.iter().any(|other| other.to.to_string() == sink.to.to_string()) => {
                section.wrong("", "writes to the same place as one before it");
            }
            Some(sink) => sinks.push(sink),
            None => whole = false,
        }
        section.finish();
    }
    if whole && !sinks.iter().any(|sink| sink.required) {
        root.wrong("audit", "at least one must be required: without one, credentials would be handed out unrecorded");
    }
    whole.then_some(sinks)
}

fn sink(section: &Section<'_>, base: &Path) -> Option<AuditSink> {
    let file = section.path("file", base);
    let stdout = section.flag("stdout").unwrap_or(false);
    let syslog = section.string("syslog").and_then(|url| url.read(|url| syslog_url(url)));
    let https = section.string("https").and_then(|url| url.read(|url| https_url(url)));
    let required = section.flag("required").unwrap_or(true);
    let tls = tls(section, base);
    let authorization = section.has("authorization").then(|| section.secret("authorization", base));
    let to = match (section.has("file"), stdout, section.has("syslog"), section.has("https")) {
        (true, false, false, false) => file.map(AuditTo::File),
        (false, true, false, false) => Some(AuditTo::Stdout),
        (false, false, true, false) => {
            let ((host, port), tls) = syslog.zip(tls)?;
            Some(AuditTo::Syslog(Collector { host, port, tls }))
        }
        (false, false, false, true) => {
            let ((host, port, path), tls) = https.zip(tls)?;
            let authorization = authorization.clone().map_or(Some(None), |source| source.map(Some))?;
            Some(AuditTo::Https(HttpsCollector { place: Collector { host, port, tls }, path, authorization }))
        }
        _ => {
            let why =
                "must have exactly one of file = \"…\", stdout = true, syslog = \"tls://…\" and https = \"https://…\"";
            section.wrong("", why);
            return None;
        }
    }?;
    if section.has("tls") && !matches!(to, AuditTo::Syslog(_) | AuditTo::Https(_)) {
        section.wrong("tls", "is for syslog and https only");
    }
    if authorization.is_some() && !matches!(to, AuditTo::Https(_)) {
        section.wrong("authorization", "is for https only");
    }
    Some(AuditSink { to, required })
}

/// `tls = { ca, cert, key }`, by the words of targets and store. Nobody is believed unverified, so there is no `mode`.
fn tls(section: &Section<'_>, base: &Path) -> Option<HostTls> {
    if !section.has("tls") {
        return Some(HostTls::default());
    }
    let table = section.section("tls")?;
    let [ca, cert, key] = ["ca", "cert", "key"].map(|key| (table.has(key), table.path(key, base)));
    for (key, other, there) in [("cert", "key", (cert.0, key.0)), ("key", "cert", (key.0, cert.0))] {
        if there == (true, false) {
            table.wrong(other, format!("is missing: {key} goes with it"));
        }
    }
    table.finish();
    let read = |(there, path): &(bool, Option<PathBuf>)| *there == path.is_some();
    let good = [&ca, &cert, &key].into_iter().all(read) && cert.0 == key.0;
    let client = cert.1.zip(key.1).map(|(cert, key)| ClientCert { cert, key });
    good.then_some(HostTls { ca: ca.1, client })
}

fn syslog_url(url: &str) -> Result<(String, u16), &'static str> {
    let why = "must be tls://host or tls://host:port: syslog goes over TLS only";
    let (host, port) = host_and_port(url.strip_prefix("tls://").ok_or(why)?).ok_or(why)?;
    Ok((host.to_owned(), port.unwrap_or(SYSLOG_PORT)))
}

/// The URL is never repeated in an error: it may hold a secret.
fn https_url(url: &str) -> Result<(String, u16, String), &'static str> {
    let why = "must be https://host, with :port and /path as needed";
    let rest = url.strip_prefix("https://").ok_or(why)?;
    let (place, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if place.contains('@') {
        return Err("must not hold a login: use authorization = { file = \"…\" } or { env = \"…\" }");
    }
    let path_ok = path.bytes().all(|b| b.is_ascii_graphic() && !b"#\"<>\\^`{|}".contains(&b));
    let (host, port) = host_and_port(place).filter(|_| path_ok).ok_or(why)?;
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok((host.to_owned(), port.unwrap_or(HTTPS_PORT), path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_collectors() {
        assert_eq!(syslog_url("tls://logs.internal").unwrap(), ("logs.internal".into(), 6514));
        assert_eq!(syslog_url("tls://[::1]:99").unwrap(), ("::1".into(), 99));
        for bad in ["udp://h", "tls://", "tls://h/", "tls://u@h", "tcp://h:6514", "h:6514"] {
            assert!(syslog_url(bad).is_err(), "{bad}");
        }
        assert_eq!(https_url("https://h").unwrap(), ("h".into(), 443, "/".into()));
        assert_eq!(https_url("https://h:8088/a/b?c=d").unwrap(), ("h".into(), 8088, "/a/b?c=d".into()));
        assert_eq!(https_url("https://h?c=d").unwrap().2, "/?c=d");
        for bad in ["http://h", "https://u:canary@h/", "https://h/a b", "https://h/#f", "https://h:0/", "https:///x"] {
            assert!(!https_url(bad).unwrap_err().contains("canary"), "{bad}");
        }
        let to = |url| {
            let (host, port, path) = https_url(url).unwrap();
            let place = Collector { host, port, tls: HostTls::default() };
            AuditTo::Https(HttpsCollector { place, path, authorization: None }).to_string()
        };
        assert_eq!(to("https://h/a?token=canary"), "https://h/a");
        assert_eq!(to("https://h:444/"), "https://h:444/");
    }
}
