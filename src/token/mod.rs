//! The issuer of tokens: its signing keys, what verifiers are told of them, and the signing itself.
//!
//! Keys are made here, kept sealed in the store, and shared by all brokers on it. Which of them signs and which are published
//! follows from when each was made ([`schedule`]): brokers need no word with each other to agree.
//!
//! The broker's own word to clouds ([`cloud`]) has an issuer of its own beneath: another URL, other keys, other documents.

mod bits;
mod cloud;
mod discovery;
mod issuer;
mod keeper;
mod key;
mod own;
mod published;
mod purpose;
mod schedule;
mod status;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use cloud::cloud_issuer;
pub use discovery::{Addresses, Documents};
pub use issuer::Issuer;
pub use keeper::{Keeper, KeeperError};
pub use key::KeyLine;
pub use own::{OwnToken, algorithm};
pub use published::Published;
pub use purpose::Purpose;

/// Longest life of a token: keys are published this long after their last signature.
pub const LIFE_MAX: Duration = Duration::from_secs(24 * 3600);

/// Longest life of a token without a lease: nobody can end it.
pub const LEASELESS_LIFE_MAX: Duration = Duration::from_secs(600);

/// The fields of token requests that mean something by themselves (RFC 6749, RFC 8707, RFC 8693 section 2.1, RFC 7521 section 4.2, RFC 7636), in
/// flows that are not ours as well: a role's params are fields beside them. Several hold secrets, and params stand in the audit log.
pub const FORM_FIELDS: [&str; 24] = [
    "grant_type",
    "scope",
    "resource",
    "audience",
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
    "subject_token",
    "subject_token_type",
    "actor_token",
    "actor_token_type",
    "requested_token_type",
    "assertion",
    "code",
    "code_verifier",
    "device_code",
    "id_token",
    "password",
    "redirect_uri",
    "refresh_token",
    "token",
    "token_type_hint",
    "username",
];

/// `[token]`: the issuer, and how often its keys change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenConfig {
    /// The issuer's URL (`iss`), without a slash at its end.
    pub issuer: String,
    /// How long before a key signs it is published: longer than any verifier keeps what it has read.
    pub publish_before: Duration,
    /// How often another key takes over.
    pub rotate_every: Duration,
}
