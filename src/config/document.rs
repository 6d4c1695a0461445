//! The file as text: reading it within bounds, parsing it, and finding the line of a key.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, ConfigErrors};

/// Largest configuration file, in bytes.
pub(super) const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A configuration file's text.
pub(super) struct Document {
    pub(super) file: PathBuf,
    pub(super) text: String,
}

/// In which line each key of a file is.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(BTreeMap<String, usize>);

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
        ConfigErrors::check(errors.iter().map(|e| self.syntax_error(e)).collect())?;
        let root = root.into_inner();
        let mut places = Places::default();
        let lines = Lines::of(&self.text);
        places.add_table("", &root, &lines);
        Ok((root, places))
    }

    fn syntax_error(&self, error: &toml::de::Error) -> ConfigError {
        let span = error.span().unwrap_or(0..0);
        let line = line_after(&self.text.as_bytes()[..span.start.min(self.text.len())]);
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
        let mut key = key;
        loop {
            if let Some(line) = self.0.get(key) {
                return *line;
            }
            match key.rfind(['.', '[']) {
                Some(end) => key = &key[..end],
                None => return 1,
            }
        }
    }

    fn add_table(&mut self, path: &str, table: &DeTable<'_>, lines: &Lines) {
        for (key, value) in table {
            let path = join(path, key.get_ref());
            self.0.insert(path.clone(), lines.line(key.span().start));
            self.add_value(&path, value, lines);
        }
    }

    fn add_value(&mut self, path: &str, value: &Spanned<DeValue<'_>>, lines: &Lines) {
        match value.get_ref() {
            DeValue::Table(table) => self.add_table(path, table, lines),
            DeValue::Array(items) => {
                for (n, item) in items.iter().enumerate() {
                    let path = format!("{path}[{n}]");
                    self.0.insert(path.clone(), lines.line(item.span().start));
                    self.add_value(&path, item, lines);
                }
            }
            _ => {}
        }
    }
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
        ] {
            assert_eq!(places.line(key), line, "{key}");
        }
    }
}
