//! A login of a database, laid open.

use zeroize::Zeroizing;

/// A login as plain texts, wiped when dropped.
pub struct Login {
    /// The account's name.
    pub username: String,
    /// Its password.
    pub password: Zeroizing<String>,
    /// Host to connect to.
    pub host: String,
    /// Port to connect to.
    pub port: u16,
    /// Database to open.
    pub database: String,
    /// All of it as one URL.
    pub url: Zeroizing<String>,
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

    /// The URL's own word for the kind of database.
    pub fn scheme(&self) -> &str {
        self.url.split_once("://").map_or("", |(scheme, _)| scheme)
    }

    /// One for tests, whose every member is odd.
    #[cfg(test)]
    pub fn odd() -> Self {
        Self {
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
