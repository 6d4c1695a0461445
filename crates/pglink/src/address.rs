//! The URL of a server: `postgres://user@host:port/database`.

use std::net::IpAddr;

/// Where a server is, who we are there and which database we open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Our login.
    pub user: String,
    /// A host name, an IP address without brackets, or the directory of a Unix socket.
    pub host: String,
    /// TCP port, or the number in the socket's name.
    pub port: u16,
    /// The database that is opened.
    pub database: String,
}

/// The port that PostgreSQL listens on unless told otherwise.
const DEFAULT_PORT: u16 = 5432;

impl Address {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong; never the URL itself, which may hold a password.
    pub fn parse(url: &str) -> Result<Self, String> {
        let rest = url
            .strip_prefix("postgres://")
            .or_else(|| url.strip_prefix("postgresql://"))
            .ok_or("must begin with postgres://, as in postgres://leasehold@db.internal:5432/orders")?;
        if rest.contains(['?', '#']) {
            return Err(
                "takes no ?parameters: TLS is set with `tls = { mode, ca, cert, key }`, the rest with keys of \
                        their own"
                    .into(),
            );
        }
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, place) = authority.rsplit_once('@').ok_or("names no user, as in postgres://leasehold@host/db")?;
        if user.contains(':') {
            return Err("must not hold a password: use `password = { file = \"…\" }` or `{ env = \"…\" }`".into());
        }
        let user = decoded(user, "user")?;
        let database = decoded(database, "database")?;
        if user.is_empty() || database.is_empty() {
            return Err("must name a user and a database, as in postgres://leasehold@host:5432/orders".into());
        }
        let (host, port) = host_and_port(place)?;
        Ok(Self { user, host, port, database })
    }

    /// Whether the host is a directory with a Unix socket.
    pub fn is_socket(&self) -> bool {
        self.host.starts_with('/')
    }

    /// Whether nothing between us and the server can listen: a socket, `localhost` or a loopback address.
    pub fn is_local(&self) -> bool {
        self.is_socket()
            || self.host.eq_ignore_ascii_case("localhost")
            || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

/// Splits `host:port`, `[::1]:port` or `%2Fsocket%2Fdir:port`.
///
/// # Errors
/// What is wrong with it.
pub fn host_and_port(place: &str) -> Result<(String, u16), String> {
    let (host, port) = match place.strip_prefix('[') {
        Some(v6) => {
            let (host, after) = v6.split_once(']').ok_or("an IPv6 address must end with ]")?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| format!("{host:?} is no IPv6 address"))?;
            (host, after)
        }
        None => place.split_at(place.find(':').unwrap_or(place.len())),
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => DEFAULT_PORT,
        Some(n) => n.parse().ok().filter(|n| *n != 0).ok_or_else(|| format!("{n:?} is no port"))?,
        None => return Err("what follows the address must be :port".into()),
    };
    let host = decoded(host, "host")?;
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.is_empty() || !(host.starts_with('/') || host.chars().all(good)) {
        return Err("the host must be a name, an address or, as %2Frun%2Fpostgresql, the directory of a socket".into());
    }
    Ok((host, port))
}

fn decoded(text: &str, what: &str) -> Result<String, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        if b != b'%' {
            out.push(b);
            continue;
        }
        let mut digit = || bytes.next().and_then(|d| (d as char).to_digit(16));
        match (digit(), digit()) {
            (Some(high), Some(low)) => out.push((high * 16 + low) as u8),
            _ => return Err(format!("the {what} has a % without two hexadecimal digits")),
        }
    }
    String::from_utf8(out)
        .ok()
        .filter(|s| !s.contains('\0'))
        .ok_or_else(|| format!("the {what} is not UTF-8 text without NUL"))
}

/// Encodes a text for any part of a URL (RFC 3986 section 2.1: everything but unreserved characters).
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(b as char),
            _ => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn urls_are_read_or_refused_with_a_reason() {
        let a = Address::parse("postgres://le%20ase@db.internal:6000/or%22ders").unwrap();
        assert_eq!((a.user.as_str(), a.host.as_str(), a.port), ("le ase", "db.internal", 6000));
        assert_eq!(a.database, "or\"ders");
        assert!(!a.is_local());
        assert_eq!(Address::parse("postgresql://u@[::1]/d").unwrap().port, 5432);
        assert!(Address::parse("postgres://u@%2Frun%2Fpg/d").unwrap().is_socket());
        for (url, why) in [
            ("mysql://u@h/d", "postgres://"),
            ("postgres://u:secret@h/d", "password"),
            ("postgres://h/d", "user"),
            ("postgres://u@h", "database"),
            ("postgres://u@h:0/d", "port"),
            ("postgres://u@h/d?sslmode=disable", "tls"),
            ("postgres://u@/d", "host"),
            ("postgres://u@h%2/d", "%"),
        ] {
            let said = Address::parse(url).unwrap_err();
            assert!(said.contains(why), "{url}: {said}");
            assert!(!said.contains("secret"));
        }
    }

    proptest! {
        #[test]
        fn encoding_reads_back(text in "[^\0]{0,40}") {
            prop_assert_eq!(decoded(&encoded(&text), "text").unwrap(), text);
        }
    }
}
