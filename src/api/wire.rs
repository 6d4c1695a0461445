//! Between the domain's types and the API's.

use bytes::Bytes;
use leasehold_client::wire;
use leasehold_sdk::{AwsCredential, Credential, DatabaseCredential, Timestamp, TokenCredential};
use secrecy::ExposeSecret;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::domain::lease::{Lease, State};
use crate::domain::role::Role;
use crate::domain::ttl::written;
use crate::lease::{KeyLine, Order};

/// A lease as callers see it.
pub(super) fn lease(lease: Lease) -> wire::Lease {
    let revoking = lease.state == State::Revoking;
    let notice = lease.notice().map(str::to_owned);
    wire::Lease {
        id: lease.id.to_string(),
        role: lease.role,
        target: lease.target,
        identity: lease.identity.to_string(),
        state: lease.state.as_str().to_owned(),
        ended_by: lease.ended_by.map(|by| by.as_str().to_owned()),
        issued_at: lease.issued_at.to_string(),
        expires_at: lease.expires_at.to_string(),
        max_expires_at: lease.max_expires_at.to_string(),
        rotate_at: lease.rotate_at.to_string(),
        renewable: lease.renewable,
        revocable: lease.revocable.as_str().to_owned(),
        worst_case_until: lease.worst_case_until.map(|t| t.to_string()),
        account: lease.account.to_string(),
        attempts: revoking.then_some(lease.attempts),
        last_error: lease.last_error.filter(|_| revoking && notice.is_none()),
        notice,
    }
}

/// An order as callers see it.
pub(super) fn order(order: Order) -> wire::OrderResponse {
    wire::OrderResponse {
        order: order.order.id,
        matched: order.matched,
        ordered: order.ordered,
        left: order.left,
        finished_at: order.finished_at.map(|t| t.to_string()),
    }
}

/// Signing keys as callers see them.
pub(super) fn keys(keys: Vec<KeyLine>) -> wire::TokenKeyList {
    let key = |key: KeyLine| wire::TokenKey {
        algorithm: key.purpose.algorithm().as_str().to_owned(),
        cloud: key.purpose.is_for_clouds(),
        generation: key.generation,
        kid: key.kid,
        state: key.state.to_owned(),
        made_at: key.made_at.to_string(),
    };
    wire::TokenKeyList { keys: keys.into_iter().map(key).collect() }
}

/// A role as callers see it.
pub(super) fn role(role: &Role) -> wire::Role {
    wire::Role {
        name: role.name.clone(),
        target: role.target.clone(),
        kind: role.kind.to_owned(),
        ttl: written(role.lifetimes.ttl()),
        max_ttl: written(role.lifetimes.max_ttl()),
    }
}

/// A credential with its lease.
pub(super) fn issued(
    lease: Option<wire::Lease>,
    credential: &Credential,
    expires_at: Timestamp,
) -> Result<Bytes, serde_json::Error> {
    #[derive(Serialize)]
    struct Issued<'a> {
        lease: Option<wire::Lease>,
        credential: Exposed<'a>,
    }
    with_secret(&Issued { lease, credential: exposed(credential, expires_at) })
}

/// An answer that holds a secret: written into one allocation of its final size, which is wiped when it has been sent.
pub(super) fn with_secret(answer: &impl Serialize) -> Result<Bytes, serde_json::Error> {
    let mut count = Counter(0);
    serde_json::to_writer(&mut count, answer)?;
    let mut text = Zeroizing::new(Vec::with_capacity(count.0));
    serde_json::to_writer(&mut *text, answer)?;
    Ok(Bytes::from_owner(text))
}

/// A view of a credential that may be serialised. It borrows, and lives as long as the writing.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Exposed<'a> {
    Database { username: &'a str, password: &'a str, host: &'a str, port: u16, database: &'a str, url: &'a str },
    Token { access_token: &'a str, token_type: &'a str, scope: &'a str, expires_at: String },
    Aws { access_key_id: &'a str, secret_access_key: &'a str, session_token: Option<&'a str>, region: &'a str },
}

fn exposed(credential: &Credential, expires_at: Timestamp) -> Exposed<'_> {
    match credential {
        Credential::Database(DatabaseCredential { username, password, host, port, database, url }) => {
            Exposed::Database {
                username,
                password: password.expose_secret(),
                host,
                port: *port,
                database,
                url: url.expose_secret(),
            }
        }
        Credential::Token(TokenCredential { access_token, token_type, scope }) => {
            let expires_at = expires_at.to_string();
            Exposed::Token { access_token: access_token.expose_secret(), token_type, scope, expires_at }
        }
        Credential::Aws(AwsCredential { access_key_id, secret_access_key, session_token, region }) => Exposed::Aws {
            access_key_id,
            secret_access_key: secret_access_key.expose_secret(),
            session_token: session_token.as_ref().map(|token| token.expose_secret()),
            region,
        },
        _ => unreachable!("every kind of credential has its form here"),
    }
}

/// Counts what is written, so that the secret's buffer never has to grow: growth leaves copies behind.
struct Counter(usize);

impl std::io::Write for Counter {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.0 += buf.len();
        Ok(buf.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
