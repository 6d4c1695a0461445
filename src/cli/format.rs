//! How `get` prints a credential.

use clap::builder::PossibleValue;
use leasehold_client::wire::Lease;
use zeroize::Zeroizing;

use super::output::safe;
use crate::agent::forms::{Form, Login};

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
pub fn readable(lease: &Lease, login: &Login) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(ROOM));
    let port = login.port.to_string();
    for (name, value) in [
        ("lease", lease.id.as_str()),
        ("expires", &lease.expires_at),
        ("renewable until", &lease.max_expires_at),
        ("username", &login.username),
        ("password", &login.password),
        ("host", &login.host),
        ("port", &port),
        ("database", &login.database),
        ("url", &login.url),
    ] {
        let value = Zeroizing::new(safe(value));
        text.push_str(&format!("{name:<17}"));
        text.push_str(&value);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::forms::tests::lease;

    #[test]
    fn people_see_it_line_by_line() {
        let text = readable(&lease(), &Login::odd());
        assert!(text.starts_with("lease            06f0\nexpires          2026-"), "{}", *text);
        assert_eq!(text.lines().count(), 9);
    }
}
