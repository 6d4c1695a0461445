//! A credential laid open: the only place of the commands where a secret leaves its type. Only `get` and `run` come here.

use anyhow::bail;
use leasehold_client::wire::{Credential, Lease, MintResponse};
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

/// A credential as plain texts, wiped when dropped.
pub struct Login {
    pub kind: &'static str,
    pub username: String,
    pub password: Zeroizing<String>,
    pub host: String,
    pub port: u16,
    pub database: String,
    pub url: Zeroizing<String>,
}

/// Lays a credential open.
///
/// # Errors
/// When it is of a kind that these commands cannot show.
pub fn open(issued: MintResponse) -> anyhow::Result<(Lease, Login)> {
    let MintResponse { lease, credential } = issued;
    let kind = credential.kind();
    let Credential::Database(login) = credential else { bail!("cannot show a credential of the kind {kind}") };
    let login = Login {
        kind,
        username: login.username,
        password: Zeroizing::new(login.password.expose_secret().to_owned()),
        host: login.host,
        port: login.port,
        database: login.database,
        url: Zeroizing::new(login.url.expose_secret().to_owned()),
    };
    Ok((lease, login))
}

impl Login {
    /// What the URL's query says beyond the members, such as `sslmode`.
    pub fn options(&self) -> Vec<(String, String)> {
        let Some((_, query)) = self.url.split_once('?') else { return Vec::new() };
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.map(|(key, value)| (decoded(key), decoded(value))).collect()
    }

    /// Whether PostgreSQL's own variables and files can hold it.
    pub fn is_postgres(&self) -> bool {
        self.url.starts_with("postgres://") || self.url.starts_with("postgresql://")
    }

    /// One for tests, whose every member is odd.
    #[cfg(test)]
    pub fn odd() -> Self {
        Self {
            kind: "database",
            username: "lh_a_b_c".into(),
            password: Zeroizing::new("it's $(a) \\ \"pass\": `x`".into()),
            host: "db.internal".into(),
            port: 5432,
            database: "or:ders".into(),
            url: Zeroizing::new(
                "postgres://lh_a_b_c:x@db.internal:5432/or%3Aders?sslmode=verify-full&sslrootcert=%2Fca.pem".into(),
            ),
        }
    }
}

/// Undoes percent-encoding (RFC 3986 2.1). What is not encoded right stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = (first == b'%').then(|| tail.get(..2)).flatten();
        match hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_urls_options_are_read() {
        let options = Login::odd().options();
        assert_eq!(options, [("sslmode".into(), "verify-full".into()), ("sslrootcert".into(), "/ca.pem".into())]);
        assert_eq!(decoded("100%&%zz%4"), "100%&%zz%4");
    }
}
