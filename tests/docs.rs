//! What the documents say is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page: those of the root, and those below the folders that hold some.
fn pages() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("read a folder").flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let kind = entry.file_type().expect("the kind of a file");
            if kind.is_dir() && !name.starts_with('.') && !matches!(name.as_str(), "target" | "node_modules") {
                folders.push(path);
            } else if kind.is_file() && name.ends_with(".md") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A page without what stands between fences.
fn prose(page: &Path) -> String {
    let text = fs::read_to_string(page).expect("read a page");
    text.split("```").step_by(2).collect()
}

/// The names by which headings can be linked to: lower case, spaces as hyphens, nothing else that is no word.
fn anchors(page: &Path) -> BTreeSet<String> {
    let heading = |line: &str| line.starts_with('#').then(|| line.trim_start_matches('#').trim().to_lowercase());
    let anchor = |text: String| {
        let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    prose(page).lines().filter_map(heading).map(anchor).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").expect("a pattern");
    let mut broken = Vec::new();
    for page in pages() {
        for capture in link.captures_iter(&prose(&page)) {
            let target = &capture[1];
            if target.contains("://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { page.clone() } else { page.with_file_name("").join(file) };
            let there = file.exists() && (anchor.is_empty() || anchors(&file).contains(anchor));
            if !there {
                broken.push(format!("{}: {target}", page.strip_prefix(root()).expect("a page of ours").display()));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n  {}", broken.join("\n  "));
}

/// Whoever reads a promise must find the test that holds it.
#[test]
fn every_promise_has_its_test() {
    let page = prose(&root().join("docs/reliability.md"));
    let named = Regex::new(r"`((?:[a-z_0-9]+::)+)([a-z_0-9]+)`").expect("a pattern");
    let (mut count, mut missing) = (0, Vec::new());
    for capture in named.captures_iter(&page) {
        let file = root().join("tests").join(capture[1].trim_end_matches("::").replace("::", "/")).with_extension("rs");
        let text = fs::read_to_string(&file).unwrap_or_default();
        if !text.contains(&format!("fn {}(", &capture[2])) {
            missing.push(capture[0].to_owned());
        }
        count += 1;
    }
    assert!(missing.is_empty() && count > 40, "promises without a test: {missing:?} of {count}");
}

/// The README's first configuration is one that the broker takes.
#[test]
fn the_readmes_configuration_is_good() {
    let readme = fs::read_to_string(root().join("README.md")).expect("the README");
    let (_, rest) = readme.split_once("```toml\n").expect("a configuration");
    let (toml, _) = rest.split_once("```").expect("its end");
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("leasehold.toml");
    fs::write(&file, toml).expect("write it");
    let config = leasehold::config::load(&file, &[Box::new(leasehold_postgres::Postgres)], "i1");
    let config = config.unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!((config.targets.len(), config.rules.roles.len(), config.rules.grants.len()), (1, 1, 2));
}
