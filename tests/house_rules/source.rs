//! Reading the repository's own Rust files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

/// One Rust file.
#[derive(Clone)]
pub struct Source {
    /// From the root of the repository, with `/`.
    pub path: String,
    /// All of it.
    pub text: String,
    /// Without comment lines and without the unit tests at the foot.
    code: String,
}

/// A path such as `crate::store::Store` that a file names, resolved from `self` and `super`, with its line.
pub struct Mention {
    pub line: usize,
    pub path: String,
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file of the repository.
pub fn all() -> Vec<Source> {
    static ALL: LazyLock<Vec<Source>> = LazyLock::new(|| {
        let files = files().into_iter().filter(|path| path.ends_with(".rs"));
        files
            .map(|path| Source::new(&path, &fs::read_to_string(root().join(&path)).expect("read a source file")))
            .collect()
    });
    ALL.clone()
}

/// Every file of the repository, without what the build and git keep.
pub fn files() -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).expect("read a folder").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = folder.join(&name);
            let kind = entry.file_type().expect("the kind of a file");
            if kind.is_dir() && !matches!(name.as_str(), "target" | ".git" | "node_modules") {
                folders.push(path);
            } else if kind.is_file() && name != ".git" {
                found.push(path.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let is_comment = |line: &str| line.trim_start().starts_with("//");
        let mut code = String::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            if line == "#[cfg(test)]"
                && lines.peek().is_some_and(|next| next.starts_with("mod ") && next.ends_with('{'))
            {
                break;
            }
            if !is_comment(line) {
                code.push_str(line);
            }
            // Comments keep their lines, so that places can be told.
            code.push('\n');
        }
        Self { path: path.to_owned(), text: text.to_owned(), code }
    }

    /// The lines of code that match, as `path:line: text`.
    pub fn lines_with(&self, pattern: &Regex) -> Vec<String> {
        let lines = self.code.lines().enumerate().filter(|(_, line)| pattern.is_match(line));
        lines.map(|(index, line)| format!("{}:{}: {}", self.path, index + 1, line.trim())).collect()
    }

    pub fn code_matches(&self, pattern: &Regex) -> bool {
        pattern.is_match(&self.code)
    }

    /// Every path that the code names, in `use` and elsewhere.
    pub fn mentions(&self) -> Vec<Mention> {
        static USE: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r"(?m)^\s*(?:pub(?:\([a-z]+\))? )?use ([^;]+);").unwrap());
        static INLINE: LazyLock<Regex> = LazyLock::new(|| {
            Regex::new(r"(?:^|[^A-Za-z0-9_:])((?:[a-z_][a-z0-9_]*::)+[A-Za-z_][A-Za-z0-9_]*)").unwrap()
        });
        let mut found = Vec::new();
        let mut add = |at: usize, path: &str| {
            let line = self.code[..at].matches('\n').count() + 1;
            found.push(Mention { line, path: self.resolve(path) });
        };
        for capture in USE.captures_iter(&self.code) {
            let tree = capture.get(1).expect("the tree");
            let text: String = tree.as_str().split_whitespace().collect::<Vec<_>>().join(" ");
            expand("", &text).iter().for_each(|path| add(tree.start(), path));
        }
        for capture in INLINE.captures_iter(&self.code) {
            let path = capture.get(1).expect("the path");
            add(path.start(), path.as_str());
        }
        found
    }

    /// `self` and `super` from where the file is; the crate's own root is `crate`.
    fn resolve(&self, path: &str) -> String {
        let inside = self.path.split_once("src/").map_or(self.path.as_str(), |(_, inside)| inside);
        let mut module: Vec<&str> = inside.trim_end_matches(".rs").split('/').collect();
        if module.last().is_some_and(|last| matches!(*last, "mod" | "lib" | "main")) {
            module.pop();
        }
        let mut rest = path;
        let mut relative = false;
        loop {
            if let Some(next) = rest.strip_prefix("super::") {
                module.pop();
                (rest, relative) = (next, true);
            } else if let Some(next) = rest.strip_prefix("self::") {
                (rest, relative) = (next, true);
            } else {
                break;
            }
        }
        if !relative {
            return path.to_owned();
        }
        module.insert(0, "crate");
        module.push(rest);
        module.join("::")
    }
}

/// The paths of a use tree: `a::{b, c::{self, d}}` gives `a::b`, `a::c`, `a::c::d`.
fn expand(prefix: &str, tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((head, group)) = tree.split_once('{') else {
        let name = tree.split(" as ").next().unwrap_or(tree).trim_end_matches("self").trim_end_matches("::");
        return vec![format!("{prefix}{name}").trim_end_matches("::").to_owned()];
    };
    let group = group.trim_end().trim_end_matches(|c| c != '}');
    let group = group.strip_suffix('}').unwrap_or(group);
    let prefix = format!("{prefix}{}", head.trim());
    split_at_top(group).iter().filter(|part| !part.trim().is_empty()).flat_map(|part| expand(&prefix, part)).collect()
}

/// Splits at the commas that are in no inner braces.
fn split_at_top(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0_i32, 0, Vec::new());
    for (index, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&group[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&group[start..]);
    parts
}

#[test]
fn use_trees_are_taken_apart() {
    assert_eq!(expand("", "a::{b, c::{self, d as e}, *}"), ["a::b", "a::c", "a::c::d", "a::*"]);
    assert_eq!(expand("", "a::b"), ["a::b"]);
}

#[test]
fn mentions_are_found_in_imports_and_in_code_but_not_in_tests_and_comments() {
    let text = "// crate::no\nuse crate::{store::Row, api};\nuse super::super::lease;\nfn f() { g(crate::engine::Call) }\n\
                #[cfg(test)]\nmod tests {\n    use crate::policy;\n}\n";
    let source = Source::new("src/api/roles/list.rs", text);
    let found: Vec<String> =
        source.mentions().iter().map(|mention| format!("{}:{}", mention.line, mention.path)).collect();
    let imports = ["2:crate::store::Row", "2:crate::api", "3:crate::api::lease"];
    assert_eq!(found[..3], imports);
    assert!(found.contains(&"4:crate::engine::Call".to_owned()), "{found:?}");
    assert!(!found.iter().any(|path| path.contains("policy") || path.contains("no")), "{found:?}");
}
