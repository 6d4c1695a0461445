//! The two PostgreSQL servers that every test runs on.

use std::path::PathBuf;

use leasehold_playground::{Installation, find_installation};

/// Names the folder under which `scripts/setup --tests` put what only the tests need.
const CACHE_VARIABLE: &str = "LEASEHOLD_CACHE";

/// The first version with the new membership rules.
const NEW_RULES: u32 = 16;

/// The server of the machine's own distribution.
///
/// # Panics
/// When there is none, with the command that installs it.
#[must_use]
pub fn distribution() -> Installation {
    find_installation().unwrap_or_else(|error| panic!("{error:#}"))
}

/// A server of version 16 or newer, from a package registry, put where `scripts/setup --tests` puts it.
///
/// # Panics
/// When it is not there, with the command that installs it.
#[must_use]
pub fn sixteen_or_newer() -> Installation {
    let cache = cache_dir();
    let mut found: Vec<Installation> = std::fs::read_dir(&cache)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("postgres-"))
        .filter_map(|entry| Installation::at(entry.path().join("bin")).ok())
        .filter(|installation| installation.major() >= NEW_RULES)
        .collect();
    found.sort_by_key(Installation::major);
    found.pop().unwrap_or_else(|| {
        panic!(
            "the tests also need a PostgreSQL server of version 16 or newer, and there is none in {}: run `scripts/setup --tests`",
            cache.display()
        )
    })
}

/// Both servers: the distribution's, then the newer one.
///
/// # Panics
/// When one is missing, with the command that installs it.
#[must_use]
pub fn both_versions() -> Vec<Installation> {
    vec![distribution(), sixteen_or_newer()]
}

/// A folder of the cache that `scripts/setup --tests` filled by these pins.
///
/// # Panics
/// When it is not there or was filled by others, with the command that makes it.
pub(crate) fn pinned(folder: &str, pins: &str) -> PathBuf {
    let dir = cache_dir().join(folder);
    let filled_by = std::fs::read_to_string(dir.join("pins")).unwrap_or_default();
    assert!(
        filled_by == pins,
        "the tests need what tests/kit/aws pins, and it is not in {}: run `scripts/setup --tests`",
        dir.display()
    );
    dir
}

/// The same folder as in `scripts/setup`. Root's lies outside its home, which the server's own user may not enter.
pub(crate) fn cache_dir() -> PathBuf {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(dir) = variable(CACHE_VARIABLE) {
        return dir;
    }
    let shared = PathBuf::from("/var/cache/leasehold");
    if shared.is_dir() {
        return shared;
    }
    let cache = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
    cache.unwrap_or_else(|| PathBuf::from("/var/cache")).join("leasehold")
}

/// Makes two tests of each async function `fn(Installation)`: `name::distribution` and `name::sixteen_or_newer`.
///
/// ```text
/// leasehold_testkit::each_version! { a_session_dies_with_its_lease }
///
/// async fn a_session_dies_with_its_lease(postgres: Installation) { … }
/// ```
#[macro_export]
macro_rules! each_version {
    ($($name:ident),+ $(,)?) => {
        $(
            mod $name {
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn distribution() {
                    super::$name($crate::distribution()).await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn sixteen_or_newer() {
                    super::$name($crate::sixteen_or_newer()).await;
                }
            }
        )+
    };
}
