//! Files that database clients read.

use anyhow::bail;
use leasehold_pglink::encoded;
use zeroize::Zeroizing;

use super::{Login, ROOM};

pub(super) fn pgservice(name: &str, login: &Login) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(ROOM));
    if name.contains(|c: char| c.is_control() || c == ']') {
        bail!("its name cannot be the name of a libpq service");
    }
    text.push_str(&format!("[{name}]\n"));
    let port = login.port.to_string();
    let options = login.options();
    let options = options.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (option, value) in [
        ("host", login.host.as_str()),
        ("port", &port),
        ("dbname", &login.database),
        ("user", &login.username),
        ("password", &login.password),
    ]
    .into_iter()
    .chain(options)
    {
        // The file has no quoting, and libpq cuts spaces at the end of a line.
        if option.contains(|c: char| c.is_control() || c == '=')
            || value.contains(char::is_control)
            || value.trim() != value
        {
            bail!("an option of its URL, or a value, cannot be written into a libpq service file");
        }
        text.push_str(option);
        text.push('=');
        text.push_str(value);
        text.push('\n');
    }
    Ok(text)
}

pub(super) fn pgpass(login: &Login) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(ROOM));
    let port = login.port.to_string();
    let fields = [login.host.as_str(), &port, &login.database, &login.username, &login.password];
    for (at, field) in fields.into_iter().enumerate() {
        if field.contains(char::is_control) {
            bail!("a control character cannot be written into a libpq password file");
        }
        text.push_str(if at > 0 { ":" } else { "" });
        for c in field.chars() {
            if matches!(c, ':' | '\\') {
                text.push('\\');
            }
            text.push(c);
        }
    }
    text.push('\n');
    Ok(text)
}

/// Quoted as MySQL's option files have it: in double quotes, where a backslash begins an escape.
pub(super) fn mysql(login: &Login) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(ROOM));
    text.push_str("[client]\n");
    let port = login.port.to_string();
    for (option, value) in [
        ("host", login.host.as_str()),
        ("port", &port),
        ("user", &login.username),
        ("password", &login.password),
        ("database", &login.database),
    ] {
        text.push_str(option);
        text.push_str("=\"");
        for c in plain(value, "a MySQL option file")?.chars() {
            if matches!(c, '"' | '\\') {
                text.push('\\');
            }
            text.push(c);
        }
        text.push_str("\"\n");
    }
    Ok(text)
}

/// As `java.util.Properties` reads it: a backslash makes the next character a plain one.
pub(super) fn jdbc(login: &Login) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(ROOM));
    let kind = if login.is_postgres() { "postgresql" } else { login.scheme() };
    let query = login.url.split_once('?').map_or("", |(_, query)| query);
    let mark = if query.is_empty() { "" } else { "?" };
    let database = encoded(&login.database);
    let url = format!("jdbc:{kind}://{}:{}/{database}{mark}{query}", login.host, login.port);
    for (property, value) in [("jdbcUrl", url.as_str()), ("username", &login.username), ("password", &login.password)] {
        text.push_str(property);
        text.push('=');
        for c in plain(value, "Java properties")?.chars() {
            match c {
                '\\' | ':' | '=' | '#' | '!' | ' ' => text.extend(['\\', c]),
                c if c.is_ascii() => text.push(c),
                c => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}"))),
            }
        }
        text.push('\n');
    }
    Ok(text)
}

/// A database with a forced user: its password must be there in clear, for PgBouncer logs in by it. In single quotes, doubled
/// within.
pub(super) fn pgbouncer(name: &str, login: &Login) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(ROOM));
    // Its documentation speaks of quotes, but its parser knows none around the name of a database.
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')) {
        bail!("its name cannot be the name of a PgBouncer database");
    }
    text.push_str("[databases]\n");
    text.push_str(name);
    text.push_str(" =");
    let port = login.port.to_string();
    for (option, value) in [
        ("host", login.host.as_str()),
        ("port", &port),
        ("dbname", &login.database),
        ("user", &login.username),
        ("password", &login.password),
    ] {
        text.push(' ');
        text.push_str(option);
        text.push_str("='");
        for c in plain(value, "PgBouncer's configuration")?.chars() {
            text.push_str(if c == '\'' { "'" } else { "" });
            text.push(c);
        }
        text.push('\'');
    }
    text.push('\n');
    Ok(text)
}

/// Without control characters, for which these files have no form.
fn plain<'a>(value: &'a str, file: &str) -> anyhow::Result<&'a str> {
    if value.contains(char::is_control) {
        bail!("a control character cannot be written into {file}");
    }
    Ok(value)
}
