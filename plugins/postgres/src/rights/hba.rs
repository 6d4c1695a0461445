//! The rule by which a stolen password opens nothing: accounts log in with an SVID of the trust domain beside it.

use leasehold_sdk::{Finding, Level};

use super::facts::Facts;
use super::{Site, finding};

/// The rule for `pg_hba.conf`, as advice.
pub(super) fn advice(site: Site<'_>, facts: &Facts, admin: &str) -> Finding {
    let mark = site.mark();
    let mut what =
        "with these lines before all others in pg_hba.conf, a stolen password opens nothing without an SVID of \
                    your trust domain; ssl_ca_file must be the trust bundle in PEM"
            .to_owned();
    if !facts.server_tls {
        what.push_str(". The server has TLS off (ssl = on turns it on)");
    } else if facts.ca_file.as_deref() == Some("") {
        what.push_str(". The server has no ssl_ca_file yet");
    }
    finding(Level::Good, None, what, Some(rules(&mark, facts, admin)))
}

fn rules(mark: &str, facts: &Facts, admin: &str) -> String {
    let mut rules = String::new();
    // From 16 on, an admin that makes roles is a member of each of them, and so of the mark: its own login comes first.
    if !facts.superuser && (facts.createrole || facts.role(mark).is_some_and(|m| m.member)) {
        let kind = if facts.server_tls { "hostssl" } else { "host" };
        rules.push_str(&format!("{kind} all {} all scram-sha-256\n", token(admin)));
    }
    rules.push_str(&format!("hostssl all +{mark} all scram-sha-256 clientcert=verify-ca\n"));
    // Without these, a later line would let the same password in by another way.
    rules.push_str(&format!("host all +{mark} all reject\nlocal all +{mark} reject"));
    rules
}

/// A name as `pg_hba.conf` wants it: in quotes, so that none of its characters means something there.
fn token(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
