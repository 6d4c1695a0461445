//! How `get` prints a credential.

use leasehold_client::wire::Lease;
use zeroize::Zeroizing;

use super::output::safe;
use crate::agent::forms::{Form, Login};

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
    /// The [client] section of a MySQL option file.
    Mysql,
    /// Java properties: jdbcUrl, username, password.
    Jdbc,
    /// The [databases] section of PgBouncer's configuration, named like the role.
    Pgbouncer,
}

impl Format {
    /// The form that it names.
    pub fn form(self) -> Form {
        match self {
            Self::Json => Form::Json,
            Self::Env => Form::Env,
            Self::Url => Form::Url,
            Self::Pgservice => Form::Pgservice,
            Self::Pgpass => Form::Pgpass,
            Self::Mysql => Form::Mysql,
            Self::Jdbc => Form::Jdbc,
            Self::Pgbouncer => Form::Pgbouncer,
        }
    }
}

/// Room for all that is printed: a buffer that grows would leave a copy unwiped.
const ROOM: usize = 64 * 1024;

/// A credential for people.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::forms::tests::lease;

    #[test]
    fn people_see_it_line_by_line() {
        let text = readable(&lease(), &Login::odd());
        assert!(text.starts_with("lease            06f0\nexpires          2026-"), "{}", *text);
        assert_eq!(text.lines().count(), 9);
    }
}
