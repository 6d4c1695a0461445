//! Rules for files as such: length, manifests, migrations, the lock file.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use regex::Regex;

use super::{assert_none, source};

/// Lines of a Rust file; there are no exceptions.
const LINES_MAX: usize = 500;

/// Marks of unfinished work. Taken apart here, so that this file does not hold what it looks for.
const UNFINISHED: &[&str] =
    &[concat!("#[", "ignore"), concat!("to", "do!("), concat!("unimpl", "emented!("), concat!("db", "g!(")];

/// Beginnings of paths that exist on one machine only.
const LOCAL_PATHS: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/tmp", "/wt")];

/// Packages that must be in no one's build: a second TLS stack.
const BANNED: &[&str] = &["openssl-sys", "openssl", "native-tls"];

/// The one registry that a package may come from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

fn read(path: &str) -> String {
    fs::read_to_string(source::root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn no_file_is_too_long() {
    let sources = source::all().into_iter().map(|source| (source.text.lines().count(), source.path));
    let found =
        sources.filter(|(lines, _)| *lines > LINES_MAX).map(|(lines, path)| format!("{path}: {lines} lines")).collect();
    assert_none("a file has more than 500 lines", found);
}

#[test]
fn nothing_is_unfinished() {
    let pattern = UNFINISHED.iter().map(|mark| regex::escape(mark)).collect::<Vec<_>>().join("|");
    let pattern = Regex::new(&pattern).expect("a pattern");
    // The whole text: the marks count in unit tests too.
    let lines = source::all().into_iter().flat_map(|source| {
        let numbered =
            source.text.lines().enumerate().map(|(index, line)| (index + 1, line.to_owned())).collect::<Vec<_>>();
        numbered.into_iter().map(move |(number, line)| (format!("{}:{number}", source.path), line))
    });
    let lines = lines.filter(|(_, line)| !line.trim_start().starts_with("//") && pattern.is_match(line));
    assert_none("a mark of unfinished work", lines.map(|(place, line)| format!("{place}: {}", line.trim())).collect());
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    let pattern = LOCAL_PATHS.iter().map(|path| regex::escape(path)).collect::<Vec<_>>().join("|");
    // Not as the end of a longer word, such as a folder of ours that ends alike.
    let pattern = Regex::new(&format!(r"(^|[^A-Za-z0-9_.}}/])({pattern})")).expect("a pattern");
    let mut found = Vec::new();
    for path in source::files() {
        let Ok(text) = fs::read_to_string(source::root().join(&path)) else { continue };
        let lines = text.lines().enumerate().filter(|(_, line)| pattern.is_match(line));
        found.extend(lines.map(|(index, line)| format!("{path}:{}: {}", index + 1, line.trim())));
    }
    assert_none("a path that exists on one machine only", found);
}

#[test]
fn every_crate_forbids_unsafe_code() {
    let workspace = read("Cargo.toml");
    assert!(workspace.contains("unsafe_code = \"forbid\""), "the workspace must forbid unsafe code");
    let manifests =
        source::files().into_iter().filter(|path| path.ends_with("Cargo.toml") && !path.starts_with("fuzz/"));
    let found = manifests.filter(|path| !read(path).contains("[lints]\nworkspace = true")).collect();
    assert_none("a crate does not take the workspace's lints", found);
}

#[test]
fn both_stores_have_the_same_migrations() {
    let names = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(source::root().join("migrations").join(folder)).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| name.ends_with(".sql"))
            .collect()
    };
    let (sqlite, postgres) = (names("sqlite"), names("postgres"));
    assert_eq!(sqlite, postgres, "migrations/sqlite and migrations/postgres must have files of the same names");
}

#[test]
fn every_plugin_has_a_readme() {
    let entries = fs::read_dir(source::root().join("plugins")).expect("the plugins").flatten();
    // The SDK is what plugins are made with, and documents itself.
    let plugins = entries.filter(|entry| entry.path().join("Cargo.toml").is_file() && entry.file_name() != "sdk");
    let found = plugins.filter(|entry| !entry.path().join("README.md").is_file());
    assert_none("a plugin has no README.md", found.map(|entry| entry.path().display().to_string()).collect());
}

#[test]
fn the_lock_file_has_one_registry_and_one_tls_stack() {
    let lock = read("Cargo.lock");
    let banned = BANNED.iter().filter(|name| lock.contains(&format!("name = \"{name}\"\n")));
    assert_none("a banned package is locked", banned.map(|name| (*name).to_owned()).collect());
    let sources = lock
        .lines()
        .filter_map(|line| line.strip_prefix("source = "))
        .filter(|from| from.trim_matches('"') != REGISTRY);
    assert_none("a package comes from elsewhere", sources.map(str::to_owned).collect());
}

/// `ring` is a line of the lock file, for features that nobody turns on; it must be in no build.
#[test]
fn nothing_activates_ring() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--workspace", "--target", "x86_64-unknown-linux-gnu", "--invert", "ring"])
        .current_dir(source::root())
        .output()
        .expect("run cargo tree");
    let (tree, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() || said.contains("did not match any packages"), "cargo tree failed: {said}");
    assert!(tree.trim().is_empty(), "ring is built:\n{tree}");
}
