//! What a caller receives, once.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// A credential. It is not `Clone`, `Display` or `Serialize`: it goes to its caller once and is then gone.
#[derive(Debug)]
#[non_exhaustive]
pub enum Credential {
    /// A login of a database.
    Database(DatabaseCredential),
    /// A token for one audience.
    Token(TokenCredential),
    /// Keys of a cloud that signs requests with them (AWS).
    Aws(AwsCredential),
}

/// A login of a database.
#[derive(Debug)]
pub struct DatabaseCredential {
    /// The account's name.
    pub username: String,
    /// Its password.
    pub password: SecretString,
    /// Host to connect to.
    pub host: String,
    /// Port to connect to.
    pub port: u16,
    /// Database to open.
    pub database: String,
    /// All of it as one URL, password included.
    pub url: SecretString,
}

/// A token for one audience (RFC 6750 section 4, RFC 9068).
#[derive(Debug)]
pub struct TokenCredential {
    /// The signed token.
    pub access_token: SecretString,
    /// How it is sent: `Bearer`.
    pub token_type: String,
    /// What it allows: names with spaces between.
    pub scope: String,
}

/// What the SDKs of AWS sign their requests with.
#[derive(Debug)]
pub struct AwsCredential {
    /// Which key; no secret.
    pub access_key_id: String,
    /// The key.
    pub secret_access_key: SecretString,
    /// Goes with the key of a session; `None`: the key of a user.
    pub session_token: Option<SecretString>,
    /// The region that the target is for.
    pub region: String,
}

/// How a credential can be ended before its time (law 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Revocable {
    /// At once, open sessions included.
    Immediate,
    /// Within a time that the target sets.
    Eventual,
    /// Only by ending all credentials of the role together.
    RoleWide,
    /// Not at all: it ends by its own clock.
    None,
}

impl Revocable {
    /// The word for it in the API and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Immediate => "immediate",
            Self::Eventual => "eventual",
            Self::RoleWide => "role_wide",
            Self::None => "none",
        }
    }
}
