//! The forms in which `get` prints a credential.

use anyhow::bail;
use leasehold_client::wire::Lease;
use serde::Serialize;
use zeroize::Zeroizing;

use super::credential::Login;
use super::output::safe;
use super::variables;

/// How a credential is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One flat JSON object: the credential's members, `lease_id` and `expires_at`.
    Json,
    /// `export NAME='value'` lines for a shell: PGHOST … DATABASE_URL.
    Env,
    /// The URL alone.
    Url,
    /// A section of a libpq service file, named like the role.
    Pgservice,
    /// A line of a libpq password file.
    Pgpass,
}

/// Room for what is printed around the secrets. No buffer here grows: growing would leave a copy unwiped.
const ROOM: usize = 64 * 1024;

/// A credential in a format.
///
/// # Errors
/// When the format cannot hold it. What is wrong is named, never shown.
pub fn formatted(format: Format, role: &str, lease: &Lease, login: &Login) -> anyhow::Result<Zeroizing<String>> {
    if matches!(format, Format::Pgservice | Format::Pgpass) && !login.is_postgres() {
        bail!("this is no login of PostgreSQL, which this format is for");
    }
    match format {
        Format::Json => json(&Flat::of(lease, login)),
        Format::Env => env(lease, login),
        Format::Url => Ok(Zeroizing::new(format!("{}\n", *login.url))),
        Format::Pgservice => pgservice(role, login),
        Format::Pgpass => pgpass(login),
    }
}

/// The same for people.
pub fn readable(lease: &Lease, login: &Login) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(ROOM));
    let port = login.port.to_string();
    for (name, value) in [
        ("lease", lease.id.as_str()),
        ("expires", &lease.expires_at),
        ("renewable until", &lease.max_expires_at),
        ("username", &login.username),
        ("password", &login.password),
        ("host", &login.host),
        ("port", &port),
        ("database", &login.database),
        ("url", &login.url),
    ] {
        let value = Zeroizing::new(safe(value));
        text.push_str(&format!("{name:<17}"));
        text.push_str(&value);
        text.push('\n');
    }
    text
}

/// The API's own JSON: lease and credential.
pub fn whole_json(lease: &Lease, login: &Login) -> anyhow::Result<Zeroizing<String>> {
    json(&Whole { lease, credential: Members::of(login) })
}

#[derive(Serialize)]
struct Whole<'a> {
    lease: &'a Lease,
    credential: Members<'a>,
}

#[derive(Serialize)]
struct Members<'a> {
    kind: &'a str,
    username: &'a str,
    password: &'a str,
    host: &'a str,
    port: u16,
    database: &'a str,
    url: &'a str,
}

impl<'a> Members<'a> {
    fn of(login: &'a Login) -> Self {
        Self {
            kind: login.kind,
            username: &login.username,
            password: &login.password,
            host: &login.host,
            port: login.port,
            database: &login.database,
            url: &login.url,
        }
    }
}

#[derive(Serialize)]
struct Flat<'a> {
    #[serde(flatten)]
    credential: Members<'a>,
    lease_id: &'a str,
    expires_at: &'a str,
}

impl<'a> Flat<'a> {
    fn of(lease: &'a Lease, login: &'a Login) -> Self {
        Self { credential: Members::of(login), lease_id: &lease.id, expires_at: &lease.expires_at }
    }
}

fn json<T: Serialize>(value: &T) -> anyhow::Result<Zeroizing<String>> {
    let mut bytes = Vec::with_capacity(ROOM);
    serde_json::to_writer_pretty(&mut bytes, value)?;
    bytes.push(b'\n');
    Ok(Zeroizing::new(String::from_utf8(bytes)?))
}

fn env(lease: &Lease, login: &Login) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(ROOM));
    for (name, value) in variables::of(&lease.id, login) {
        if value.contains('\0') {
            bail!("{name} holds a NUL character, which no variable can hold");
        }
        text.push_str("export ");
        text.push_str(&name);
        // Within single quotes a shell (POSIX 2.2.2) takes everything as it is, except the quote that ends them.
        text.push_str("='");
        for (at, part) in value.split('\'').enumerate() {
            text.push_str(if at > 0 { "'\\''" } else { "" });
            text.push_str(part);
        }
        text.push_str("'\n");
    }
    Ok(text)
}

fn pgservice(role: &str, login: &Login) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(ROOM));
    if role.contains(|c: char| c.is_control() || c == ']') {
        bail!("the role's name cannot be the name of a libpq service");
    }
    text.push_str(&format!("[{role}]\n"));
    let port = login.port.to_string();
    let options = login.options();
    let options = options.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in [
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
        if name.contains(|c: char| c.is_control() || c == '=')
            || value.contains(char::is_control)
            || value.trim() != value
        {
            bail!("{} cannot be written into a libpq service file", safe(name));
        }
        text.push_str(name);
        text.push('=');
        text.push_str(value);
        text.push('\n');
    }
    Ok(text)
}

fn pgpass(login: &Login) -> anyhow::Result<Zeroizing<String>> {
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

#[cfg(test)]
mod tests;
