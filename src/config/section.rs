//! Reading a table key by key: every error names its key, and what nobody asked for is an error too.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use leasehold_sdk::{SecretSource, SettingError, Settings};
use toml::de::{DeTable, DeValue};

use super::document::{Document, Places, join};
use super::error::{ConfigError, ConfigErrors};
use super::value;

/// Longest duration that a key may hold: ten years, in days.
const DURATION_DAYS_MAX: u64 = 3650;

/// Longest name of a target, role, zone or param, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// What is wrong so far.
pub(crate) struct Problems<'a> {
    file: PathBuf,
    places: &'a Places,
    list: RefCell<Vec<ConfigError>>,
}

impl<'a> Problems<'a> {
    pub(super) fn new(document: &Document, places: &'a Places) -> Self {
        Self { file: document.file.clone(), places, list: RefCell::default() }
    }

    /// Notes that `key`, counted from the root, is wrong.
    pub(crate) fn add(&self, key: &str, why: &str) {
        let line = Some(self.places.line(key));
        self.list.borrow_mut().push(ConfigError::new(self.file.clone(), line, key, why));
    }

    /// Refuses the file if anything was noted.
    pub(crate) fn finish(self) -> Result<(), ConfigErrors> {
        ConfigErrors::check(self.list.into_inner())
    }
}

/// A value with the key that it came from.
#[derive(Clone)]
pub(crate) struct Field<'a, T> {
    pub(crate) value: T,
    pub(crate) key: String,
    problems: &'a Problems<'a>,
}

/// An item of a list that has both.
pub(crate) enum StringOrSection<'a> {
    /// A string.
    String(Field<'a, &'a str>),
    /// A table.
    Section(Section<'a>),
}

impl<T> Field<'_, T> {
    /// Notes that it is wrong.
    pub(crate) fn wrong(&self, why: impl AsRef<str>) {
        self.problems.add(&self.key, why.as_ref());
    }

    /// What `read` makes of it; an error is noted.
    pub(crate) fn read<U, E: ToString>(&self, read: impl FnOnce(&T) -> Result<U, E>) -> Option<U> {
        read(&self.value).map_err(|e| self.wrong(e.to_string())).ok()
    }
}

impl<'a> Field<'a, &'a DeValue<'a>> {
    /// The table that it holds.
    pub(crate) fn section(&self) -> Option<Section<'a>> {
        let table = self.value.as_table()?;
        Some(Section { problems: self.problems, table, key: self.key.clone(), asked: RefCell::default() })
    }
}

/// A table being read.
pub(crate) struct Section<'a> {
    problems: &'a Problems<'a>,
    table: &'a DeTable<'a>,
    key: String,
    asked: RefCell<Vec<&'static str>>,
}

static EMPTY: LazyLock<DeTable<'static>> = LazyLock::new(DeTable::new);

impl<'a> Section<'a> {
    pub(crate) fn root(problems: &'a Problems<'a>, table: &'a DeTable<'a>) -> Self {
        Self { problems, table, key: String::new(), asked: RefCell::default() }
    }

    /// Notes that `key`, counted from this table, is wrong. An empty key is the table itself.
    pub(crate) fn wrong(&self, key: &str, why: impl AsRef<str>) {
        // Not `join`: an engine's `password.file` is a path already.
        let path = match (self.key.as_str(), key) {
            (table, "") => table.to_owned(),
            ("", key) => key.to_owned(),
            (table, key) => format!("{table}.{key}"),
        };
        self.problems.add(&path, why.as_ref());
    }

    /// Notes what an engine found wrong.
    pub(crate) fn refused(&self, error: &SettingError) {
        self.wrong(&error.key, &error.why);
    }

    /// Whether `key` is there, whatever its type.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Notes an error unless `key` is there. `what` says what belongs there.
    pub(crate) fn require(&self, key: &str, what: &str) {
        if !self.has(key) {
            self.wrong(key, format!("is missing: {what}"));
        }
    }

    pub(crate) fn string(&self, key: &'static str) -> Option<Field<'a, &'a str>> {
        self.field(key, "a string", DeValue::as_str)
    }

    pub(crate) fn flag(&self, key: &'static str) -> Option<bool> {
        self.field(key, "true or false", DeValue::as_bool).map(|f| f.value)
    }

    /// A path; a relative one starts at `base`.
    pub(crate) fn path(&self, key: &'static str, base: &std::path::Path) -> Option<PathBuf> {
        let text = self.string(key)?;
        if text.value.is_empty() || text.value.contains('\0') {
            text.wrong("must be a path");
            return None;
        }
        Some(base.join(text.value))
    }

    pub(crate) fn duration(&self, key: &'static str) -> Option<Duration> {
        let text = self.field(key, "a duration in quotes such as \"15m\"", DeValue::as_str)?;
        let duration = text.read(|text| {
            humantime::parse_duration(text).map_err(|e| format!("must be a duration such as \"90s\" or \"1h30m\": {e}"))
        })?;
        if duration > Duration::from_secs(DURATION_DAYS_MAX * 86_400) {
            text.wrong(format!("must not be longer than {DURATION_DAYS_MAX} days"));
            return None;
        }
        Some(duration)
    }

    /// A name: one that can stand in paths, metrics and logs without quoting.
    pub(crate) fn name(&self, key: &'static str) -> Option<Field<'a, &'a str>> {
        self.string(key).filter(|f| f.read(|name| check_name(name)).is_some())
    }

    /// A list of strings; `None` also when one of them is none.
    pub(crate) fn strings(&self, key: &'static str) -> Option<Field<'a, Vec<Field<'a, &'a str>>>> {
        let list = self.field(key, "a list of strings", DeValue::as_array)?;
        let items: Option<Vec<_>> = list
            .value
            .iter()
            .enumerate()
            .map(|(n, item)| {
                let field = Field { value: (), key: format!("{}[{n}]", list.key), problems: self.problems };
                match item.get_ref().as_str() {
                    Some(value) => Some(Field { value, key: field.key, problems: self.problems }),
                    None => {
                        field.wrong(value::expected("a string", item.get_ref()));
                        None
                    }
                }
            })
            .collect();
        Some(Field { value: items?, key: list.key, problems: self.problems })
    }

    /// A list of which each item is a string or a table; `None` also when one of them is neither.
    pub(crate) fn strings_or_sections(&self, key: &'static str) -> Option<Vec<StringOrSection<'a>>> {
        let list = self.field(key, "a list", DeValue::as_array)?;
        let item = |(n, item): (usize, &'a toml::Spanned<DeValue<'a>>)| {
            let field = Field { value: item.get_ref(), key: format!("{}[{n}]", list.key), problems: self.problems };
            match (field.value.as_str(), field.value.as_table()) {
                (Some(value), _) => {
                    Some(StringOrSection::String(Field { value, key: field.key, problems: self.problems }))
                }
                (_, Some(table)) => Some(StringOrSection::Section(Section {
                    problems: self.problems,
                    table,
                    key: field.key,
                    asked: RefCell::default(),
                })),
                _ => {
                    field.wrong(value::expected("a string or a table", field.value));
                    None
                }
            }
        };
        let items: Vec<_> = list.value.iter().enumerate().map(item).collect();
        items.into_iter().collect()
    }

    /// Where a secret is: `{ file = "…" }` or `{ env = "…" }`; a relative path starts at `base`.
    pub(crate) fn secret(&self, key: &'static str, base: &std::path::Path) -> Option<SecretSource> {
        let table = self.section(key)?;
        let file = table.path("file", base).map(SecretSource::File);
        let env = table.string("env").map(|name| SecretSource::Env(name.value.to_owned()));
        let source = match (file, env) {
            (Some(source), None) | (None, Some(source)) => Some(source),
            _ => {
                table.wrong("", "must have either file = \"…\" or env = \"…\"");
                None
            }
        };
        table.finish();
        source
    }

    /// The table `key`.
    pub(crate) fn section(&self, key: &'static str) -> Option<Section<'a>> {
        let table = self.field(key, "a table", DeValue::as_table)?;
        Some(Section { problems: self.problems, table: table.value, key: table.key, asked: RefCell::default() })
    }

    /// The table `key`, or an empty one, so that its defaults hold.
    pub(crate) fn section_or_empty(&self, key: &'static str) -> Section<'a> {
        self.section(key).unwrap_or_else(|| Section {
            problems: self.problems,
            table: &EMPTY,
            key: join(&self.key, key),
            asked: RefCell::default(),
        })
    }

    /// The tables `[[key]]`.
    pub(crate) fn sections(&self, key: &'static str) -> Vec<Section<'a>> {
        let wanted = format!("a list of tables: [[{key}]]");
        let Some(list) = self.field(key, &wanted, DeValue::as_array) else { return Vec::new() };
        let items = list.value.iter().enumerate().filter_map(|(n, item)| {
            let key = format!("{}[{n}]", list.key);
            match item.get_ref().as_table() {
                Some(table) => Some(Section { problems: self.problems, table, key, asked: RefCell::default() }),
                None => {
                    self.problems.add(&key, &value::expected("a table", item.get_ref()));
                    None
                }
            }
        });
        items.collect()
    }

    /// Every key of this table with its value: for tables whose keys are names.
    pub(crate) fn entries(&self) -> Vec<(&'a str, Field<'a, &'a DeValue<'a>>)> {
        let entry = |key: &'a str, value| (key, Field { value, key: join(&self.key, key), problems: self.problems });
        self.table.iter().map(|(key, value)| entry(key.get_ref().as_ref(), value.get_ref())).collect()
    }

    /// Every key of this table with the table that it holds; wrong names and other values are noted and left out.
    pub(crate) fn named_sections(&self) -> Vec<(&'a str, Section<'a>)> {
        let section = |(name, field): (&'a str, Field<'a, &'a DeValue<'a>>)| {
            field.read(|_| check_name(name))?;
            let table = field.read(|v| v.as_table().ok_or_else(|| value::expected("a table", v)))?;
            Some((name, Section { problems: self.problems, table, key: field.key, asked: RefCell::default() }))
        };
        self.entries().into_iter().filter_map(section).collect()
    }

    /// The keys that nobody asked for: an engine's.
    pub(crate) fn rest(&self) -> Settings {
        let asked = self.asked.borrow();
        let entries = self.entries().into_iter().filter(|(key, _)| !asked.contains(key));
        entries.filter_map(|(key, field)| Some((key.to_owned(), field.read(|v| value::to_json(v))?))).collect()
    }

    /// A list of whole numbers from 0 to `max`; `None` also when one of them is none.
    pub(crate) fn integers(&self, key: &'static str, max: u64) -> Option<Vec<u64>> {
        let list = self.field(key, "a list of whole numbers", DeValue::as_array)?;
        let read = |item: &toml::Spanned<DeValue<'_>>| {
            let number = item.get_ref().as_integer().and_then(value::to_u64);
            number.filter(|number| *number <= max)
        };
        let numbers: Option<Vec<u64>> = list.value.iter().map(read).collect();
        list.read(|_| numbers.ok_or_else(|| format!("must be whole numbers from 0 to {max}")))
    }

    /// A whole number from 0 to `max`.
    pub(crate) fn integer(&self, key: &'static str, max: u64) -> Option<u64> {
        let field = self.field(key, "a whole number", DeValue::as_integer)?;
        let number = value::to_u64(field.value).filter(|number| *number <= max);
        field.read(|_| number.ok_or_else(|| format!("must be a whole number from 0 to {max}")))
    }

    /// A table of texts by name.
    pub(crate) fn strings_by_name(&self) -> Option<std::collections::BTreeMap<String, String>> {
        let text = |(name, field): (&'a str, Field<'a, &'a DeValue<'a>>)| {
            let text = field.read(|v| v.as_str().ok_or_else(|| value::expected("a string", v)))?;
            Some((name.to_owned(), text.to_owned()))
        };
        let all: Vec<_> = self.entries().into_iter().map(text).collect();
        all.into_iter().collect()
    }

    /// Refuses the keys that nobody asked for.
    pub(crate) fn finish(self) {
        self.finish_here();
    }

    /// The same for a table of which more is to be said.
    pub(crate) fn finish_here(&self) {
        let asked = self.asked.borrow();
        for (key, field) in self.entries() {
            if !asked.contains(&key) {
                field.wrong(unknown("key", key, asked.iter().copied()));
            }
        }
    }

    fn field<T>(
        &self,
        key: &'static str,
        wanted: &str,
        get: impl FnOnce(&'a DeValue<'a>) -> Option<T>,
    ) -> Option<Field<'a, T>> {
        self.asked.borrow_mut().push(key);
        let found = self.table.get(key)?.get_ref();
        let field = Field { value: found, key: join(&self.key, key), problems: self.problems };
        let value = field.read(|v| get(v).ok_or_else(|| value::expected(wanted, v)))?;
        Some(Field { value, key: field.key, problems: self.problems })
    }
}

/// Says that `name` is none of `known`, and which it may have been meant to be.
pub(crate) fn unknown<'k>(what: &str, name: &str, known: impl Iterator<Item = &'k str>) -> String {
    match value::nearest(name, known) {
        Some(near) => format!("unknown {what}; did you mean {near}?"),
        None => format!("unknown {what}"),
    }
}

/// Whether `name` can stand in paths, metrics and logs without quoting.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(good) {
        return Ok(());
    }
    Err(format!("a name must be 1 to {NAME_BYTES_MAX} characters of a-z, A-Z, 0-9, '.', '_' and '-'"))
}
