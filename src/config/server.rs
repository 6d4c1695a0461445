//! `[broker]`, `[listen]`, `[[audit]]` and `[limits]`: the broker itself.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use toml::de::DeValue;

use super::section::{Field, Section, check_name, unknown};
use super::{AuditSink, AuditTo, BrokerConfig, Listen, value};
use crate::limits::{self, LimitError, Limits};

const API_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8443);
const OPS_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);

pub(super) fn broker(root: &Section<'_>, base: &Path) -> Option<BrokerConfig> {
    let section = root.section_or_empty("broker");
    section.require("cluster", "a name of 1 to 16 characters of a-z, 0-9 and '-', part of every account name");
    section.require("data_dir", "a directory for what is the broker's own");
    let cluster = section.string("cluster").and_then(|f| f.read(|s| s.parse()));
    let data_dir = section.path("data_dir", base);
    let zones = zones(&section);
    section.finish();
    Some(BrokerConfig { cluster: cluster?, data_dir: data_dir?, zones: zones? })
}

fn zones(section: &Section<'_>) -> Option<Option<Vec<String>>> {
    if !section.has("zones") {
        return Some(None);
    }
    let zones = section.strings("zones")?;
    if zones.value.is_empty() {
        zones.wrong("must name at least one zone; leave it out to serve targets of any zone");
        return None;
    }
    let names: Option<Vec<String>> =
        zones.value.iter().map(|zone| zone.read(|s| check_name(s)).map(|()| zone.value.to_owned())).collect();
    Some(Some(names?))
}

pub(super) fn listen(root: &Section<'_>) -> Option<Listen> {
    let section = root.section_or_empty("listen");
    section.later("public", "the public listener");
    section.later("public_tls", "the public listener");
    let api = address(&section, "api", API_DEFAULT);
    let ops = address(&section, "ops", OPS_DEFAULT);
    let exposed = section.flag("ops_exposed").unwrap_or(false);
    if let Some(ops) = ops.filter(|ops| !ops.ip().is_loopback() && !exposed) {
        let why = format!(
            "{ops} can be reached from other machines, without TLS or authentication: use a loopback address, or say \
             ops_exposed = true"
        );
        section.wrong("ops", why);
    }
    let api_url = section.string("api_url").map(|f| f.read(|url| https_url(url)));
    section.finish();
    Some(Listen { api: api?, api_url: api_url.map_or(Some(None), |url| url.map(Some))?, ops: ops? })
}

fn address(section: &Section<'_>, key: &'static str, default: SocketAddr) -> Option<SocketAddr> {
    if !section.has(key) {
        return Some(default);
    }
    let parse = |text: &&str| {
        let why = "must be an IP address and a port, such as \"127.0.0.1:8443\" or \"[::]:8443\"";
        text.parse().map_err(|_| why)
    };
    section.string(key)?.read(parse)
}

fn https_url(url: &str) -> Result<String, &'static str> {
    let why = "must be https://host or https://host:port, without a path";
    let place = url.strip_prefix("https://").ok_or(why)?;
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (place, "443"),
    };
    let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let host_ok = match bracketed {
        Some(ip) => ip.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-')),
    };
    let port_ok = port.parse::<u16>().is_ok_and(|p| p > 0) && port.bytes().all(|b| b.is_ascii_digit());
    if host_ok && port_ok { Ok(url.to_owned()) } else { Err(why) }
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
        match audit_sink(&section, base) {
            Some(sink) if sinks.iter().any(|other| other.to == sink.to) => {
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

fn audit_sink(section: &Section<'_>, base: &Path) -> Option<AuditSink> {
    let file = section.path("file", base);
    let stdout = section.flag("stdout").unwrap_or(false);
    let required = section.flag("required").unwrap_or(true);
    let to = match (section.has("file"), stdout) {
        (true, false) => AuditTo::File(file?),
        (false, true) => AuditTo::Stdout,
        _ => {
            section.wrong("", "must have either file = \"…\" or stdout = true");
            return None;
        }
    };
    Some(AuditSink { to, required })
}

pub(super) fn limits(root: &Section<'_>) -> Limits {
    let mut limits = Limits::default();
    let section = root.section_or_empty("limits");
    for (name, field) in section.entries() {
        limit(&mut limits, name, &field);
    }
    if limits.revoke_retry_milliseconds_min > limits.revoke_retry_milliseconds_max {
        section.wrong("revoke_retry_milliseconds_min", "must not be more than revoke_retry_milliseconds_max");
    }
    if limits.circuit_probe_milliseconds_min > limits.circuit_probe_milliseconds_max {
        section.wrong("circuit_probe_milliseconds_min", "must not be more than circuit_probe_milliseconds_max");
    }
    limits
}

fn limit(limits: &mut Limits, name: &str, field: &Field<'_, &DeValue<'_>>) {
    let Some(known) = limits::ALL.iter().find(|known| known.name == name) else {
        return field.wrong(unknown("limit", name, limits::ALL.iter().map(|known| known.name)));
    };
    let range = format!("a whole number from {} to {}", known.min, known.max);
    let Some(integer) = field.value.as_integer() else {
        return field.wrong(value::expected(&range, field.value));
    };
    let set = value::to_u64(integer).ok_or(LimitError::Range { min: known.min, max: known.max });
    if set.and_then(|n| limits.set(name, n)).is_err() {
        field.wrong(format!("must be {range}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_the_api() {
        for good in ["https://a", "https://a.b-c:8443", "https://[::1]", "https://[::1]:1", "https://10.0.0.1:65535"] {
            assert!(https_url(good).is_ok(), "{good}");
        }
        let bad = ["http://a", "https://", "https://a/", "https://a:0", "https://a:b", "https://u@a", "https://a:+1"];
        for bad in bad.into_iter().chain(["https://[x]", "https://a:65536", "https://a?b", "https://::1"]) {
            assert!(https_url(bad).is_err(), "{bad}");
        }
    }
}
