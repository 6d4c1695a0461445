//! `[seal]`: the keys by which secrets that must be kept are sealed, and who can recover them.

use std::path::Path;

use super::section::Section;
use crate::seal::{KeySource, Recovery};

/// `[seal]`.
#[derive(Debug, Clone, PartialEq)]
pub struct SealConfig {
    /// The key that seals.
    pub key: KeySource,
    /// Keys that sealed before it: for opening only.
    pub old_keys: Vec<KeySource>,
    /// Where rotated secrets are kept for whoever holds an age key.
    pub recovery: Option<Recovery>,
}

/// `Some(None)`: there is none.
pub(super) fn seal(root: &Section<'_>, base: &Path) -> Option<Option<SealConfig>> {
    if !root.has("seal") {
        return Some(None);
    }
    let section = root.section("seal")?;
    section.require("key", "where the key is: { file = \"seal.key\" }, { env = \"…\" }, { systemd_credential = \"…\" } or { command = [\"…\"] }");
    let key = section.section("key").and_then(|table| key_source(table, base));
    let mut old_keys = Vec::new();
    let mut whole = true;
    for table in section.sections("old_keys") {
        match key_source(table, base) {
            Some(source) => old_keys.push(source),
            None => whole = false,
        }
    }
    let recovery = recovery(&section, base);
    section.finish();
    whole.then_some(())?;
    Some(Some(SealConfig { key: key?, old_keys, recovery: recovery? }))
}

/// `{ file = "…" }` and the other places where a key can be.
pub(crate) fn key_source(table: Section<'_>, base: &Path) -> Option<KeySource> {
    let file = table.path("file", base).map(KeySource::File);
    let env = table.string("env").map(|name| KeySource::Env(name.value.to_owned()));
    let credential = table.string("systemd_credential").and_then(|name| {
        // The name of a file in one directory, and of no other.
        let good = !name.value.is_empty() && !name.value.starts_with('.') && !name.value.contains('/');
        name.read(|text| if good { Ok(KeySource::SystemdCredential((*text).to_owned())) } else { Err("is no name") })
    });
    let command = table.strings("command").and_then(|words| {
        let words: Vec<String> = words.value.iter().map(|word| word.value.to_owned()).collect();
        if words.is_empty() {
            table.wrong("command", "names no program");
        }
        (!words.is_empty()).then_some(KeySource::Command(words))
    });
    let said = ["file", "env", "systemd_credential", "command"].iter().filter(|key| table.has(key)).count();
    if said != 1 {
        table.wrong("", "must have exactly one of file, env, systemd_credential and command");
    }
    table.finish();
    if said == 1 { file.or(env).or(credential).or(command) } else { None }
}

fn recovery(section: &Section<'_>, base: &Path) -> Option<Option<Recovery>> {
    let file = section.path("recovery_file", base);
    let recipients = section.strings("recovery_recipients");
    match (section.has("recovery_recipients"), section.has("recovery_file")) {
        (false, false) => return Some(None),
        (true, true) => {}
        (true, false) => {
            section.wrong("recovery_recipients", "needs recovery_file: where the secrets are kept for them")
        }
        (false, true) => {
            section.wrong("recovery_file", "needs recovery_recipients: age public keys, such as \"age1…\"")
        }
    }
    let recipients = recipients?;
    if recipients.value.is_empty() {
        recipients.wrong("must name at least one age public key");
        return None;
    }
    let texts: Vec<&str> = recipients.value.iter().map(|field| field.value).collect();
    recipients
        .read(|_| {
            Recovery::new(&texts, file.clone().unwrap_or_default())
                .map_err(|text| format!("{text:?} is no age public key (age1…)"))
        })
        .filter(|_| file.is_some())
        .map(Some)
}
