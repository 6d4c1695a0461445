//! Whole files through the whole reader.

mod bad_files;
mod docs;
mod fake;
mod good_files;
mod reloads;

use super::*;

/// A file that is good, for tests to spoil. Its lines are counted by the tests: add at the end only.
const GOOD: &str = r#"[broker]
cluster = "test"
data_dir = "/var/lib/leasehold"
[listen]
api = "127.0.0.1:0"
ops = "127.0.0.1:0"
[identity]
trust_domain = "dev.local"
svid = { cert = "broker.pem", key = "broker-key.pem" }
[identity.bundles]
"dev.local" = { file = "bundle.pem" }
[targets.orders]
plugin = "fake"
url = "fake://admin@db:1/orders"
[roles.orders-read]
target = "orders"
ttl = "1h"
params = { tenant = "[0-9]{1,9}" }
[[grants]]
name = "billing reads orders"
identities = ["spiffe://dev.local/ns/billing/sa/*"]
roles = ["orders-read"]
"#;

fn read(text: &str) -> Result<Config, ConfigErrors> {
    parse(Path::new("/etc/leasehold/leasehold.toml"), text, &[Box::new(fake::Fake)], "i1")
}

fn good(text: &str) -> Config {
    read(text).unwrap_or_else(|errors| panic!("{errors}"))
}

/// What is said of `text`, without the name of the file.
fn errors(text: &str) -> Vec<String> {
    match read(text) {
        Ok(_) => Vec::new(),
        Err(errors) => {
            let line = |e: &ConfigError| e.to_string().trim_start_matches("/etc/leasehold/leasehold.toml:").to_owned();
            errors.iter().map(line).collect()
        }
    }
}

/// `text` with line `number`, counted from 1, replaced.
fn with_line(text: &str, number: usize, line: &str) -> String {
    let lines = text.lines().enumerate().map(|(n, old)| if n + 1 == number { line } else { old });
    lines.fold(String::new(), |text, line| text + line + "\n")
}
