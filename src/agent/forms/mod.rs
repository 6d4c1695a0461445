//! The forms in which a credential is handed on: each is one that its readers already know.

mod aws;
mod files;
mod login;
mod opened;
pub mod template;
#[cfg(test)]
pub(crate) mod tests;
pub mod variables;

use anyhow::bail;
use leasehold_client::wire::{Lease, Supplied};
use secrecy::SecretString;
use serde::Serialize;
use zeroize::Zeroizing;

pub use aws::Aws;
pub use login::Login;
pub use opened::{Opened, Token, open};

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
    Env "env" "export NAME='value' lines for a shell: PGHOST … DATABASE_URL, ACCESS_TOKEN …, or AWS_ACCESS_KEY_ID …";
    Token "token" "The token alone, without a newline";
    Url "url" "The URL alone";
    Pgservice "pgservice" "A section of a libpq service file";
    Pgpass "pgpass" "A line of a libpq password file";
    Mysql "mysql" "The client section of a MySQL option file";
    Jdbc "jdbc" "Java properties: jdbcUrl, username, password";
    Pgbouncer "pgbouncer" "The databases section of PgBouncer's configuration, to be included there";
    AwsProcess "aws-process" "What the SDKs of AWS take from a credential_process";
    AwsProfile "aws-profile" "A profile of AWS's shared credentials file";
}

/// Room for what is written around the secrets. No buffer here grows: growing would leave a copy unwiped.
const ROOM: usize = 64 * 1024;

/// What a form can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// Every kind of credential.
    All,
    /// Logins of databases.
    Logins,
    /// Tokens.
    Tokens,
    /// Keys of AWS.
    Aws,
}

impl Holds {
    /// What that is, for people.
    pub fn about(self) -> &'static str {
        match self {
            Self::All => "every kind of credential",
            Self::Logins => "logins of databases",
            Self::Tokens => "tokens",
            Self::Aws => "keys of AWS",
        }
    }

    /// The names of the forms that a credential of this kind can have, for people.
    pub fn forms(self) -> String {
        let fits = |form: &&Form| form.holds() == Self::All || form.holds() == self;
        Form::ALL.iter().filter(fits).map(|form| form.name()).collect::<Vec<_>>().join(", ")
    }
}

impl Form {
    /// What it can hold.
    pub fn holds(self) -> Holds {
        match self {
            Self::Json | Self::Env => Holds::All,
            Self::Token => Holds::Tokens,
            Self::AwsProcess | Self::AwsProfile => Holds::Aws,
            Self::Url | Self::Pgservice | Self::Pgpass | Self::Mysql | Self::Jdbc | Self::Pgbouncer => Holds::Logins,
        }
    }
}

/// A credential in a form. `name` is what services, sections and databases in it are called; a token may have no lease.
///
/// # Errors
/// When the form cannot hold it. What is wrong is named, never shown.
pub fn formed(form: Form, name: &str, lease: Option<&Lease>, credential: &Opened) -> anyhow::Result<Zeroizing<String>> {
    match (form, credential) {
        (Form::Json, _) => json(&Flat::of(lease, credential)),
        (Form::Env, _) => env(lease, credential),
        // Read to its end and sent as it is: in a header a newline would be an error.
        (Form::Token, Opened::Token(token)) => Ok(token.access_token.clone()),
        (Form::AwsProcess, Opened::Aws(keys)) => aws::process(keys, lease),
        (Form::AwsProfile, Opened::Aws(keys)) => aws::profile(name, keys),
        (_, Opened::Login(login)) if form.holds() == Holds::Logins => of_login(form, name, login),
        _ => bail!("{} has no form {}: it can be {}", credential.about(), form.name(), credential.kind().forms()),
    }
}

fn of_login(form: Form, name: &str, login: &Login) -> anyhow::Result<Zeroizing<String>> {
    if matches!(form, Form::Pgservice | Form::Pgpass | Form::Pgbouncer) && !login.is_postgres() {
        bail!("this is no login of PostgreSQL, which this format is for");
    }
    match form {
        Form::Url => Ok(Zeroizing::new(format!("{}\n", *login.url))),
        Form::Pgservice => files::pgservice(name, login),
        Form::Pgpass => files::pgpass(login),
        Form::Mysql => files::mysql(login),
        Form::Jdbc => files::jdbc(login),
        Form::Pgbouncer => files::pgbouncer(name, login),
        other => bail!("the form {} is for no login of a database", other.name()),
    }
}

/// The API's own JSON: lease and credential.
pub fn whole_json(lease: Option<&Lease>, credential: &Opened) -> anyhow::Result<Zeroizing<String>> {
    json(&Whole { lease, credential: Members::of(credential) })
}

/// The same with its generation, as the agent says it.
pub fn supplied_json(generation: u64, lease: Option<&Lease>, credential: &Opened) -> anyhow::Result<Zeroizing<String>> {
    #[derive(Serialize)]
    struct Numbered<'a> {
        generation: u64,
        #[serde(flatten)]
        whole: Whole<'a>,
    }
    json(&Numbered { generation, whole: Whole { lease, credential: Members::of(credential) } })
}

/// What the SDKs of AWS are answered by the agent of a container.
///
/// # Errors
/// When it is another kind of credential.
pub fn aws_container(lease: Option<&Lease>, credential: &Opened) -> anyhow::Result<Zeroizing<String>> {
    match credential {
        Opened::Aws(keys) => aws::container(keys, lease),
        other => bail!("{} is nothing that requests to AWS are signed with", other.about()),
    }
}

/// Reads what [`supplied_json`] wrote.
///
/// # Errors
/// When it is something else. What it holds is not told.
pub fn read_supplied(text: &SecretString) -> anyhow::Result<Supplied> {
    opened::read(text)
}

#[derive(Serialize)]
struct Whole<'a> {
    lease: Option<&'a Lease>,
    credential: Members<'a>,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Members<'a> {
    Database { username: &'a str, password: &'a str, host: &'a str, port: u16, database: &'a str, url: &'a str },
    Token { access_token: &'a str, token_type: &'a str, scope: &'a str, expires_at: &'a str },
    Aws { access_key_id: &'a str, secret_access_key: &'a str, session_token: Option<&'a str>, region: &'a str },
}

impl<'a> Members<'a> {
    fn of(credential: &'a Opened) -> Self {
        match credential {
            Opened::Login(login) => Self::Database {
                username: &login.username,
                password: &login.password,
                host: &login.host,
                port: login.port,
                database: &login.database,
                url: &login.url,
            },
            Opened::Token(token) => Self::Token {
                access_token: &token.access_token,
                token_type: &token.token_type,
                scope: &token.scope,
                expires_at: &token.expires_at,
            },
            Opened::Aws(keys) => Self::Aws {
                access_key_id: &keys.access_key_id,
                secret_access_key: &keys.secret_access_key,
                session_token: keys.session_token.as_deref().map(String::as_str),
                region: &keys.region,
            },
        }
    }
}

#[derive(Serialize)]
struct Flat<'a> {
    #[serde(flatten)]
    credential: Members<'a>,
    /// Null for a token that has none.
    lease_id: Option<&'a str>,
    /// A token says it itself: its end is signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<&'a str>,
}

impl<'a> Flat<'a> {
    fn of(lease: Option<&'a Lease>, credential: &'a Opened) -> Self {
        let expires_at = lease.filter(|_| !credential.says_its_end()).map(|lease| lease.expires_at.as_str());
        Self { credential: Members::of(credential), lease_id: lease.map(|lease| lease.id.as_str()), expires_at }
    }
}

fn json<T: Serialize>(value: &T) -> anyhow::Result<Zeroizing<String>> {
    let mut bytes = Vec::with_capacity(ROOM);
    serde_json::to_writer_pretty(&mut bytes, value)?;
    bytes.push(b'\n');
    Ok(Zeroizing::new(String::from_utf8(bytes)?))
}

fn env(lease: Option<&Lease>, credential: &Opened) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(ROOM));
    for (name, value) in variables::of(lease.map(|lease| lease.id.as_str()), credential) {
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
