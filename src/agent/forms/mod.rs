//! The forms in which a credential is handed on: each is one that its readers already know.

mod files;
mod login;
pub mod template;
#[cfg(test)]
pub(crate) mod tests;
pub mod variables;

use anyhow::bail;
use leasehold_client::wire::{Lease, Supplied};
use secrecy::SecretString;
use serde::Serialize;
use zeroize::Zeroizing;

pub use login::{Login, open};

/// Defines the forms from one table: the form, the name that configurations and commands call it, and what it is.
macro_rules! forms {
    ($($form:ident $name:literal $about:literal;)+) => {
        /// A form.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Form {
            $(#[doc = $about] $form,)+
        }

        impl Form {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$form),+];

            /// What it is called.
            pub fn name(self) -> &'static str {
                match self { $(Self::$form => $name,)+ }
            }

            /// What it is, for people.
            pub fn about(self) -> &'static str {
                match self { $(Self::$form => $about,)+ }
            }
        }
    };
}

forms! {
    Json "json" "One flat JSON object: the credential's members, lease_id and expires_at";
    Env "env" "export NAME='value' lines for a shell: PGHOST … DATABASE_URL";
    Url "url" "The URL alone";
    Pgservice "pgservice" "A section of a libpq service file";
    Pgpass "pgpass" "A line of a libpq password file";
    Mysql "mysql" "The client section of a MySQL option file";
    Jdbc "jdbc" "Java properties: jdbcUrl, username, password";
    Pgbouncer "pgbouncer" "The databases section of PgBouncer's configuration, to be included there";
}

/// Room for what is written around the secrets. No buffer here grows: growing would leave a copy unwiped.
const ROOM: usize = 64 * 1024;

/// A credential in a form. `name` is what services, sections and databases in it are called.
///
/// # Errors
/// When the form cannot hold it. What is wrong is named, never shown.
pub fn formed(form: Form, name: &str, lease: &Lease, login: &Login) -> anyhow::Result<Zeroizing<String>> {
    if matches!(form, Form::Pgservice | Form::Pgpass | Form::Pgbouncer) && !login.is_postgres() {
        bail!("this is no login of PostgreSQL, which this format is for");
    }
    match form {
        Form::Json => json(&Flat::of(lease, login)),
        Form::Env => env(lease, login),
        Form::Url => Ok(Zeroizing::new(format!("{}\n", *login.url))),
        Form::Pgservice => files::pgservice(name, login),
        Form::Pgpass => files::pgpass(login),
        Form::Mysql => files::mysql(login),
        Form::Jdbc => files::jdbc(login),
        Form::Pgbouncer => files::pgbouncer(name, login),
    }
}

/// The API's own JSON: lease and credential.
pub fn whole_json(lease: &Lease, login: &Login) -> anyhow::Result<Zeroizing<String>> {
    json(&Whole { lease, credential: Members::of(login) })
}

/// The same with its generation, as the agent says it.
pub fn supplied_json(generation: u64, lease: &Lease, login: &Login) -> anyhow::Result<Zeroizing<String>> {
    #[derive(Serialize)]
    struct Numbered<'a> {
        generation: u64,
        #[serde(flatten)]
        whole: Whole<'a>,
    }
    json(&Numbered { generation, whole: Whole { lease, credential: Members::of(login) } })
}

/// Reads what [`supplied_json`] wrote.
///
/// # Errors
/// When it is something else. What it holds is not told.
pub fn read_supplied(text: &SecretString) -> anyhow::Result<Supplied> {
    login::read(text)
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
