//! The file as text: reading it within bounds, parsing it, and finding the line of a key.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::error::{ConfigError, ConfigErrors};

/// Largest configuration file, in bytes.
pub(super) const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A configuration file's text.
pub(super) struct Document {
    pub(super) file: PathBuf,
    pub(super) text: String,
}

/// Longest key, in bytes: keys are put into errors with all that is around them.
const KEY_BYTES_MAX: usize = 256;

/// In which line each key of a file is: a tree, so that its size follows the file's however deep that is.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    line: usize,
    within: BTreeMap<String, Places>,
}

impl Document {
    /// Reads `file`.
    ///
    /// # Errors
    /// When it cannot be read, is larger than 1 MiB or is not UTF-8.
    pub(super) fn read(file: &Path) -> Result<Self, ConfigErrors> {
        let fail = |line, why: &str| ConfigErrors::from(ConfigError::new(file.to_owned(), line, "", why));
        let bytes = read_bounded(file).map_err(|e| fail(None, &format!("cannot be read: {e}")))?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(fail(None, &format!("is larger than {FILE_BYTES_MAX} bytes")));
        }
        let text = String::from_utf8(bytes).map_err(|e| {
            let good = &e.as_bytes()[..e.utf8_error().valid_up_to()];
            fail(Some(line_after(good)), "is not UTF-8")
        })?;
        Ok(Self { file: file.to_owned(), text })
    }

    /// The tables of the file and where each key is.
    ///
    /// # Errors
    /// Everything that is not TOML; duplicate keys are among it.
    pub(super) fn parse(&self) -> Result<(DeTable<'_>, Places), ConfigErrors> {
        let (root, errors) = DeTable::parse_recoverable(&self.text);
        let lines = Lines::of(&self.text);
        ConfigErrors::check(errors.iter().map(|e| self.syntax_error(e, &lines)).collect())?;
        let root = root.into_inner();
        let mut long_keys = Vec::new();
        let places = Places { line: 1, within: Places::of_table(&root, &lines, &mut long_keys) };
        let why = format!("a key must not be longer than {KEY_BYTES_MAX} bytes");
        let error = |line| ConfigError::new(self.file.clone(), Some(line), "", &why);
        ConfigErrors::check(long_keys.into_iter().map(error).collect())?;
        Ok((root, places))
    }

    fn syntax_error(&self, error: &toml::de::Error, lines: &Lines) -> ConfigError {
        let span = error.span().unwrap_or(0..0);
        let line = lines.line(span.start);
        // Only a key is quoted from the file: what else stands there may be a secret in the wrong place.
        let why = match (error.message(), self.text.get(span)) {
            ("duplicate key", Some(key)) => format!("duplicate key {key}"),
            (message, _) => format!("not TOML: {message}"),
        };
        ConfigError::new(self.file.clone(), Some(line), "", &why)
    }
}

impl Places {
    /// The line of `key`, or of the nearest table around it that is in the file; 1 when there is none.
    pub(super) fn line(&self, key: &str) -> usize {
        let (mut place, mut rest) = (self, key);
        while !rest.is_empty() {
            let (first, after) = rest.split_at(first_part(rest));
            match place.within.get(first) {
                Some(next) => (place, rest) = (next, after.strip_prefix('.').unwrap_or(after)),
                None => break,
            }
        }
        place.line
    }

    fn of_table(table: &DeTable<'_>, lines: &Lines, long_keys: &mut Vec<usize>) -> BTreeMap<String, Self> {
        let place = |(key, value): (&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)| {
            let line = lines.line(key.span().start);
            if key.get_ref().len() > KEY_BYTES_MAX {
                long_keys.push(line);
            }
            (join("", key.get_ref()), Self { line, within: Self::of_value(value.get_ref(), lines, long_keys) })
        };
        table.iter().map(place).collect()
    }

    fn of_value(value: &DeValue<'_>, lines: &Lines, long_keys: &mut Vec<usize>) -> BTreeMap<String, Self> {
        match value {
            DeValue::Table(table) => Self::of_table(table, lines, long_keys),
            DeValue::Array(items) => {
                let place = |(n, item): (usize, &Spanned<DeValue<'_>>)| {
                    let line = lines.line(item.span().start);
                    (format!("[{n}]"), Self { line, within: Self::of_value(item.get_ref(), lines, long_keys) })
                };
                items.iter().enumerate().map(place).collect()
            }
            _ => BTreeMap::new(),
        }
    }
}

/// Where the first part of a key ends: `a` of `a.b`, `[0]` of `[0].b`, `"a.b"` of `"a.b".c`.
fn first_part(key: &str) -> usize {
    let end = match key.as_bytes().first() {
        Some(b'"') => {
            let mut escaped = false;
            let mut closes = |c| {
                let closes = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                closes
            };
            key[1..].find(&mut closes).map(|n| n + 2)
        }
        Some(b'[') => key.find(']').map(|n| n + 1),
        _ => key.find(['.', '[']),
    };
    end.unwrap_or(key.len())
}

/// Where each line of a text begins.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(n, _)| n + 1).collect())
    }

    fn line(&self, offset: usize) -> usize {
        1 + self.0.partition_point(|start| *start <= offset)
    }
}

/// `path.key`, the key quoted where TOML would demand it.
pub(super) fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    let key = if bare { key.to_owned() } else { format!("{key:?}") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

fn line_after(text: &[u8]) -> usize {
    1 + text.iter().filter(|b| **b == b'\n').count()
}

fn read_bounded(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(file)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_key() {
        for (key, first) in
            [("a.b", "a"), ("a[0]", "a"), ("[0].a", "[0]"), (r#""a.\"b".c"#, r#""a.\"b""#), (r#""a"#, r#""a"#)]
        {
            assert_eq!(&key[..first_part(key)], first);
        }
    }

    #[test]
    fn deep_and_long_keys_cost_no_more_than_their_file() {
        let long = "k".repeat(KEY_BYTES_MAX + 1);
        let doc = |text: String| Document { file: "f".into(), text };
        let said = doc(format!("a = 1\n{long} = 1\n")).parse().unwrap_err().to_string();
        assert_eq!(said, "f:2: a key must not be longer than 256 bytes");
        let (_, places) = doc(format!("a = {}{}", "[".repeat(60), "]".repeat(60))).parse().map_err(|_| ()).unwrap();
        assert_eq!(places.line(&format!("a{}", "[0]".repeat(59))), 1);
    }

    #[test]
    fn every_key_has_its_line() {
        let text = "[a.b]\nc = [1,\n  2]\n\n[[g]]\nx = { y = 1 }\n[[g]]\n\"q.r\" = 1\n";
        let doc = Document { file: "f".into(), text: text.into() };
        let (_, places) = doc.parse().unwrap();
        for (key, line) in [
            ("a", 1),
            ("a.b", 1),
            ("a.b.c", 2),
            ("a.b.c[0]", 2),
            ("a.b.c[1]", 3),
            ("g[0]", 5),
            ("g[0].x.y", 6),
            ("g[1]", 7),
            ("g[1].\"q.r\"", 8),
            ("a.b.missing", 1),
            ("g[1].missing.too", 7),
            ("nothing", 1),
            ("g[1].\"q.r\".more", 8),
            ("g[1].\"q", 7),
            ("g[", 5),
            ("", 1),
        ] {
            assert_eq!(places.line(key), line, "{key}");
        }
    }
}
