//! `[store]`: the leases, in a file or in a PostgreSQL server.

use std::path::{Path, PathBuf};

use leasehold_pglink::{Address, Tls};
use leasehold_sdk::Settings;

use super::section::Section;
use super::{PostgresStore, StoreConfig};

pub(super) fn store(root: &Section<'_>, base: &Path, data_dir: Option<&Path>) -> Option<StoreConfig> {
    let section = root.section_or_empty("store");
    let store = match section.has("url") {
        true => section.string("url").and_then(|url| match is_postgres(url.value) {
            true => url.read(|url| Address::parse(url)).and_then(|address| shared(&section, base, address)),
            false => url.read(|url| store_file(url, base)).map(StoreConfig::Sqlite),
        }),
        false => data_dir.map(|dir| StoreConfig::Sqlite(dir.join("leasehold.db"))),
    };
    section.finish();
    store
}

fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

/// A store in a PostgreSQL server. What protects the way to it is said as for targets.
fn shared(section: &Section<'_>, base: &Path, address: Address) -> Option<StoreConfig> {
    let password = section.has("password").then(|| section.secret("password", base));
    let tls = section.section("tls").map_or_else(Settings::new, |tls| tls.rest());
    let tls = Tls::read(tls, &address, base).map_err(|e| section.refused(&e)).ok()?;
    let password = password.map_or(Some(None), |source| source.map(Some))?;
    Some(StoreConfig::Postgres(Box::new(PostgresStore { address, tls, password })))
}

/// The URL is never repeated in an error: it may hold a password.
fn store_file(url: &str, base: &Path) -> Result<PathBuf, &'static str> {
    match url.strip_prefix("sqlite://") {
        Some(path) if !path.is_empty() && !path.ends_with('/') && !path.contains(['?', '#', '%', '\0']) => {
            Ok(base.join(path))
        }
        _ => Err("must be sqlite:///path/to/file, or postgres://user@host:port/database for several brokers"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_store() {
        let base = Path::new("/etc/leasehold");
        assert_eq!(store_file("sqlite:///var/x.db", base), Ok("/var/x.db".into()));
        assert_eq!(store_file("sqlite://x.db", base), Ok("/etc/leasehold/x.db".into()));
        for bad in ["sqlite://", "sqlite:///var/", "sqlite:x", "x.db", "sqlite:///a?mode=ro", "mysql://u:canary@h/d"] {
            assert!(!store_file(bad, base).unwrap_err().contains("canary"), "{bad}");
        }
    }
}
