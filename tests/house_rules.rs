//! The house rules, as tests. Each table of exceptions stands beside its rule: to need a new line in one is a decision.

mod directions;
mod owners;
mod places;
mod repository;
mod source;

use source::Source;

/// Fails with every place that breaks the rule, so that one run shows them all.
#[track_caller]
fn assert_none(rule: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{rule}:\n  {}\n", found.join("\n  "));
}

/// Whether `path` is one of these files, or lies under one of these folders, which end in `/`.
fn is_listed(path: &str, list: &[&str]) -> bool {
    list.iter().any(|entry| if entry.ends_with('/') { path.starts_with(entry) } else { path == *entry })
}

/// Code that never runs in a broker: tests, benches, and the kit for them.
const TEST_CODE: [&str; 3] = ["tests/", "benches/", "fuzz/"];

fn is_test_file(path: &str) -> bool {
    is_listed(path, &TEST_CODE)
        || path.contains("/tests/")
        || path.ends_with("/tests.rs")
        || path.ends_with("/conformance.rs")
        || path.contains("/conformance/")
}

/// Files of the broker and its crates, without tests.
fn production() -> Vec<Source> {
    source::all().into_iter().filter(|source| !is_test_file(&source.path)).collect()
}
