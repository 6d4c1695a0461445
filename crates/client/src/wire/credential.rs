//! What a caller receives, once.

use secrecy::SecretString;
use serde::{Deserialize, Deserializer, de};

use super::secret;

/// A credential, as its receiver holds it. It is not `Clone`, `Display` or `Serialize`; `Debug` shows no secret.
#[derive(Debug)]
#[non_exhaustive]
pub enum Credential {
    /// A login of a database: `"kind": "database"`.
    Database(DatabaseCredential),
    /// A token for one audience: `"kind": "token"`.
    Token(TokenCredential),
    /// Keys that requests to AWS are signed with: `"kind": "aws"`.
    Aws(AwsCredential),
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

/// A token for one audience (RFC 6750, RFC 9068).
#[derive(Debug)]
pub struct TokenCredential {
    /// The signed token.
    pub access_token: SecretString,
    /// How it is sent: `Bearer`.
    pub token_type: String,
    /// What it allows: names with spaces between.
    pub scope: String,
    /// When it ends.
    pub expires_at: String,
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

/// Why a credential cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// A kind that this version does not know.
    #[error("a credential of the kind {0:?}, which this version does not know")]
    UnknownKind(String),
    /// A member that its kind needs is not there.
    #[error("a credential of the kind {kind} without {member}")]
    Missing {
        /// The kind.
        kind: &'static str,
        /// The member.
        member: &'static str,
    },
}

impl Credential {
    /// The word for its kind in the API.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Database(_) => "database",
            Self::Token(_) => "token",
            Self::Aws(_) => "aws",
        }
    }
}

/// Every member of every kind. One flat struct and not a tagged enum, because serde buffers what it reads for a tagged
/// enum, secrets included, in memory that nobody wipes.
#[derive(Deserialize)]
pub(crate) struct CredentialMembers {
    kind: String,
    username: Option<String>,
    #[serde(default, deserialize_with = "secret::optional")]
    password: Option<SecretString>,
    host: Option<String>,
    port: Option<u16>,
    database: Option<String>,
    #[serde(default, deserialize_with = "secret::optional")]
    url: Option<SecretString>,
    #[serde(default, deserialize_with = "secret::optional")]
    access_token: Option<SecretString>,
    token_type: Option<String>,
    scope: Option<String>,
    expires_at: Option<String>,
    access_key_id: Option<String>,
    #[serde(default, deserialize_with = "secret::optional")]
    secret_access_key: Option<SecretString>,
    #[serde(default, deserialize_with = "secret::optional")]
    session_token: Option<SecretString>,
    region: Option<String>,
}

impl<'de> Deserialize<'de> for Credential {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        CredentialMembers::deserialize(from)?.into_credential().map_err(de::Error::custom)
    }
}

impl CredentialMembers {
    pub(crate) fn into_credential(self) -> Result<Credential, CredentialError> {
        match self.kind.as_str() {
            "database" => self.into_database().map(Credential::Database),
            "token" => self.into_token().map(Credential::Token),
            "aws" => self.into_aws().map(Credential::Aws),
            other => Err(CredentialError::UnknownKind(other.chars().take(64).collect())),
        }
    }

    fn into_token(self) -> Result<TokenCredential, CredentialError> {
        let without = |member| CredentialError::Missing { kind: "token", member };
        Ok(TokenCredential {
            access_token: self.access_token.ok_or(without("access_token"))?,
            token_type: self.token_type.ok_or(without("token_type"))?,
            scope: self.scope.ok_or(without("scope"))?,
            expires_at: self.expires_at.ok_or(without("expires_at"))?,
        })
    }

    fn into_aws(self) -> Result<AwsCredential, CredentialError> {
        let without = |member| CredentialError::Missing { kind: "aws", member };
        Ok(AwsCredential {
            access_key_id: self.access_key_id.ok_or(without("access_key_id"))?,
            secret_access_key: self.secret_access_key.ok_or(without("secret_access_key"))?,
            session_token: self.session_token,
            region: self.region.ok_or(without("region"))?,
        })
    }

    fn into_database(self) -> Result<DatabaseCredential, CredentialError> {
        let without = |member| CredentialError::Missing { kind: "database", member };
        Ok(DatabaseCredential {
            username: self.username.ok_or(without("username"))?,
            password: self.password.ok_or(without("password"))?,
            host: self.host.ok_or(without("host"))?,
            port: self.port.ok_or(without("port"))?,
            database: self.database.ok_or(without("database"))?,
            url: self.url.ok_or(without("url"))?,
        })
    }
}

/// The same for the OpenAPI document, which is derived from what serde would do with a tagged enum.
#[cfg(feature = "openapi")]
#[allow(dead_code)] // only its schema is used
pub(super) mod schema {
    /// What a caller receives, once: `kind` and what that kind needs.
    #[derive(serde::Deserialize, utoipa::ToSchema)]
    #[serde(tag = "kind", rename_all = "snake_case")]
    pub enum Credential {
        /// A login of a database.
        Database {
            /// The account's name.
            username: String,
            /// Its password.
            #[schema(format = "password")]
            password: String,
            /// Host to connect to.
            host: String,
            /// Port to connect to.
            port: u16,
            /// Database to open.
            database: String,
            /// All of it as one URL, password included.
            #[schema(format = "password")]
            url: String,
        },
        /// A token for one audience.
        Token {
            /// The signed token (RFC 9068).
            #[schema(format = "password")]
            access_token: String,
            /// How it is sent: `Bearer`.
            token_type: String,
            /// What it allows: names with spaces between.
            scope: String,
            /// When it ends.
            expires_at: String,
        },
        /// Keys that requests to AWS are signed with.
        Aws {
            /// Which key; no secret.
            access_key_id: String,
            /// The key.
            #[schema(format = "password")]
            secret_access_key: String,
            /// Goes with the key of a session; null: the key of a user.
            #[schema(format = "password")]
            session_token: Option<String>,
            /// The region that the target is for.
            region: String,
        },
    }
}
