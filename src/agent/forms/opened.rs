//! A credential laid open: the only place of commands and agent where a secret leaves its type.

use anyhow::bail;
use leasehold_client::wire::{Credential, Supplied};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::{Aws, Holds, Login};

/// A credential as plain texts, wiped when dropped.
pub enum Opened {
    /// A login of a database.
    Login(Login),
    /// A token.
    Token(Token),
    /// Keys that requests to AWS are signed with.
    Aws(Aws),
}

impl Opened {
    /// What forms must hold to hold it.
    pub fn kind(&self) -> Holds {
        match self {
            Self::Login(_) => Holds::Logins,
            Self::Token(_) => Holds::Tokens,
            Self::Aws(_) => Holds::Aws,
        }
    }

    /// What it is, for people.
    pub fn about(&self) -> &'static str {
        match self {
            Self::Login(_) => "a login of a database",
            Self::Token(_) => "a token",
            Self::Aws(_) => "a key of AWS",
        }
    }

    /// Whether its end is its own, which does not move with the lease: that of a token is signed.
    pub fn says_its_end(&self) -> bool {
        matches!(self, Self::Token(_))
    }
}

/// A token as plain texts, wiped when dropped.
pub struct Token {
    /// The token.
    pub access_token: Zeroizing<String>,
    /// How it is sent: `Bearer`.
    pub token_type: String,
    /// What it allows: names with spaces between.
    pub scope: String,
    /// When it ends.
    pub expires_at: String,
}

/// Lays a credential open.
///
/// # Errors
/// When it is of a kind that has none of these forms.
pub fn open(credential: &Credential) -> anyhow::Result<Opened> {
    let plain = |secret: &SecretString| Zeroizing::new(secret.expose_secret().to_owned());
    match credential {
        Credential::Database(login) => Ok(Opened::Login(Login {
            username: login.username.clone(),
            password: plain(&login.password),
            host: login.host.clone(),
            port: login.port,
            database: login.database.clone(),
            url: plain(&login.url),
        })),
        Credential::Token(token) => Ok(Opened::Token(Token {
            access_token: plain(&token.access_token),
            token_type: token.token_type.clone(),
            scope: token.scope.clone(),
            expires_at: token.expires_at.clone(),
        })),
        Credential::Aws(keys) => Ok(Opened::Aws(Aws {
            access_key_id: keys.access_key_id.clone(),
            secret_access_key: plain(&keys.secret_access_key),
            session_token: keys.session_token.as_ref().map(plain),
            region: keys.region.clone(),
        })),
        other => bail!("cannot show a credential of the kind {}", other.kind()),
    }
}

/// Reads a credential that was kept.
///
/// # Errors
/// When it is none. What it holds is not told.
pub(super) fn read(text: &SecretString) -> anyhow::Result<Supplied> {
    serde_json::from_str(text.expose_secret())
        .map_err(|e| anyhow::anyhow!("it is no credential: line {}, column {}", e.line(), e.column()))
}

#[cfg(test)]
impl Aws {
    /// Keys of a session, for tests.
    pub fn session() -> Self {
        Self {
            access_key_id: "ASIAEXAMPLE".into(),
            secret_access_key: Zeroizing::new("wJalr/XUtnFEMI+K7MDENG=".into()),
            session_token: Some(Zeroizing::new("IQoJb3JpZ2lu//8=".into())),
            region: "eu-central-1".into(),
        }
    }
}

#[cfg(test)]
impl Opened {
    /// A login for tests, whose every member is odd.
    pub fn odd() -> Self {
        Self::Login(Login::odd())
    }

    /// A token for tests.
    pub fn token() -> Self {
        Self::Token(Token {
            access_token: Zeroizing::new("e30.e30.c2ln".into()),
            token_type: "Bearer".into(),
            scope: "payments:read payments:write".into(),
            expires_at: "2026-01-02T03:14:05.678Z".into(),
        })
    }
}
