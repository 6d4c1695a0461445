//! How `get` prints a credential.

use clap::builder::PossibleValue;
use leasehold_client::wire::Lease;
use zeroize::Zeroizing;

use super::output::safe;
use crate::agent::forms::{Form, Opened};

impl clap::ValueEnum for Form {
    fn value_variants<'a>() -> &'a [Self] {
        Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(self.about()))
    }
}

/// Room for all that is printed: a buffer that grows would leave a copy unwiped.
const ROOM: usize = 64 * 1024;

/// A credential for people.
pub fn readable(lease: Option<&Lease>, credential: &Opened) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(ROOM));
    let mut line = |name: &str, value: &str| {
        let value = Zeroizing::new(safe(value));
        text.push_str(&format!("{name:<17}"));
        text.push_str(&value);
        text.push('\n');
    };
    if let Some(lease) = lease {
        line("lease", &lease.id);
    }
    match credential {
        Opened::Login(login) => {
            if let Some(lease) = lease {
                line("expires", &lease.expires_at);
                line("renewable until", &lease.max_expires_at);
            }
            line("username", &login.username);
            line("password", &login.password);
            line("host", &login.host);
            line("port", &login.port.to_string());
            line("database", &login.database);
            line("url", &login.url);
        }
        Opened::Token(token) => {
            line("expires", &token.expires_at);
            line("token type", &token.token_type);
            line("scope", &token.scope);
            line("access token", &token.access_token);
        }
        Opened::Aws(keys) => {
            if let Some(lease) = lease {
                line("expires", &lease.expires_at);
            }
            line("access key", &keys.access_key_id);
            line("secret key", &keys.secret_access_key);
            if let Some(token) = &keys.session_token {
                line("session token", token);
            }
            line("region", &keys.region);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::forms::Aws;
    use crate::agent::forms::tests::lease;

    #[test]
    fn people_see_it_line_by_line() {
        let text = readable(Some(&lease()), &Opened::odd());
        assert!(text.starts_with("lease            06f0\nexpires          2026-"), "{}", *text);
        assert_eq!(text.lines().count(), 9);
        let text = readable(None, &Opened::token());
        assert!(text.starts_with("expires          2026-01-02T03:14:05.678Z\ntoken type       Bearer\n"), "{}", *text);
        assert!(text.ends_with("access token     e30.e30.c2ln\n"), "{}", *text);
        let text = readable(Some(&lease()), &Opened::Aws(Aws::session()));
        assert!(
            text.contains("\nexpires          2026-01-02T03:04:05.678Z\naccess key       ASIAEXAMPLE\n"),
            "{}",
            *text
        );
        assert!(text.ends_with("session token    IQoJb3JpZ2lu//8=\nregion           eu-central-1\n"), "{}", *text);
    }
}
