//! `[broker]`, `[listen]` and `[limits]`: the broker itself.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use leasehold_identity::ClientCert;
use toml::de::DeValue;

use super::section::{Field, Section, check_name, unknown};
use super::{BrokerConfig, Listen, PublicListen, value};
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

pub(super) fn listen(root: &Section<'_>, base: &Path) -> Option<Listen> {
    let section = root.section_or_empty("listen");
    let public = public(&section, base);
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
    Some(Listen { api: api?, api_url: api_url.map_or(Some(None), |url| url.map(Some))?, ops: ops?, public: public? })
}

/// `Some(None)`: there is none.
fn public(section: &Section<'_>, base: &Path) -> Option<Option<PublicListen>> {
    let tls = match section.section("public_tls") {
        None if section.has("public_tls") => return None,
        None => None,
        Some(files) => {
            files.require("cert", "a certificate in PEM, leaf first");
            files.require("key", "its key in PEM");
            let (cert, key) = (files.path("cert", base), files.path("key", base));
            files.finish();
            Some(ClientCert { cert: cert?, key: key? })
        }
    };
    if !section.has("public") {
        if tls.is_some() {
            section.wrong("public_tls", "means something with public = \"ADDRESS:PORT\" only");
        }
        return Some(None);
    }
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
    Some(Some(PublicListen { address: address(section, "public", any)?, tls }))
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

pub(super) fn https_url(url: &str) -> Result<String, &'static str> {
    let why = "must be https://host or https://host:port, without a path";
    let place = url.strip_prefix("https://").ok_or(why)?;
    host_and_port(place).map(|_| url.to_owned()).ok_or(why)
}

/// `host`, `host:port`, or the same with an IPv6 address in brackets, which are not part of the host.
pub(super) fn host_and_port(place: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (place, None),
    };
    let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let host_ok = match bracketed {
        Some(ip) => ip.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-')),
    };
    let digits = |port: &&str| port.bytes().all(|b| b.is_ascii_digit());
    let port = port.map(|port| Some(port).filter(digits)?.parse::<u16>().ok().filter(|port| *port > 0));
    if !host_ok || port == Some(None) {
        return None;
    }
    Some((bracketed.unwrap_or(host), port.flatten()))
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
