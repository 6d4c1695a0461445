//! A role's settings: what an account may do.

use std::collections::BTreeMap;

use leasehold_sdk::{Keys, RoleContext, RoleSettings, SettingError, Settings};
use serde::{Deserialize, Serialize};

use crate::quote::{quote_ident, quote_literal};
use crate::template::Template;

/// Most names in one list of a role's settings.
const LIST_MAX: usize = 100;

/// A role's checked settings. Its keys are described in this crate's README.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RoleConfig {
    /// Standing groups that the account joins.
    pub(crate) member_of: Vec<String>,
    /// The standing role that its sessions act as from their first statement.
    pub(crate) set_role: Option<String>,
    /// Who gets what the account leaves behind; `None`: the cluster's estate role.
    pub(crate) reassign_to: Option<String>,
    /// What becomes of what it leaves behind.
    pub(crate) owned: Owned,
    /// Most sessions at once.
    pub(crate) connection_limit: u32,
    /// Schemas of its `search_path`; empty: as the server has it.
    pub(crate) search_path: Vec<String>,
    /// Other session defaults.
    pub(crate) settings: BTreeMap<String, String>,
    /// Run as the admin in the transaction that makes the account.
    pub(crate) creation_statements: Vec<String>,
    /// Run as the admin once its sessions are gone.
    pub(crate) revocation_statements: Vec<String>,
    /// Dangerous rights that the role may have.
    pub(crate) allow_dangerous: Vec<String>,
    /// The database that workloads are given.
    pub(crate) database: String,
}

/// What becomes of what an account owned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Owned {
    /// It goes to `reassign_to`, else to the estate role.
    #[default]
    Reassign,
    /// It is dropped.
    Drop,
}

impl RoleConfig {
    /// Checks a role's settings; `home` is the target's own database.
    ///
    /// # Errors
    /// The key that is wrong and why.
    pub(crate) fn read(context: &RoleContext, settings: Settings, home: &str) -> Result<Self, SettingError> {
        let mut keys = Keys::new("postgres", settings);
        let config = Self {
            member_of: names(&mut keys, "member_of")?,
            set_role: name(&mut keys, "set_role")?,
            reassign_to: name(&mut keys, "reassign_to")?,
            owned: keys.optional("owned")?.unwrap_or_default(),
            connection_limit: keys.number("connection_limit", 20, 1..=100_000)?,
            search_path: names(&mut keys, "search_path")?,
            settings: session_settings(&mut keys)?,
            creation_statements: statements(&mut keys, "creation_statements", true, context)?,
            revocation_statements: statements(&mut keys, "revocation_statements", false, context)?,
            allow_dangerous: keys.optional("allow_dangerous")?.unwrap_or_default(),
            database: name(&mut keys, "database")?.unwrap_or_else(|| home.to_owned()),
        };
        keys.finish()?;
        config.refuse_contradictions(home)?;
        Ok(config)
    }

    fn refuse_contradictions(&self, home: &str) -> Result<(), SettingError> {
        let statements = !self.creation_statements.is_empty() || !self.revocation_statements.is_empty();
        if statements && self.database != home {
            let why = "must be the target's own database when there are creation or revocation statements, because \
                       they run there: make a target of its own for the other database";
            return Err(SettingError::new("database", why));
        }
        if self.owned == Owned::Drop && self.reassign_to.is_some() {
            return Err(SettingError::new("reassign_to", "contradicts owned = \"drop\""));
        }
        Ok(())
    }

    /// Every group that the account joins: `member_of`, and `set_role`, which takes membership.
    pub(crate) fn groups(&self) -> Vec<String> {
        let mut groups = self.member_of.clone();
        groups.extend(self.set_role.iter().filter(|r| !self.member_of.contains(r)).cloned());
        groups
    }

    /// The form in which the core keeps it.
    pub(crate) fn into_settings(self) -> RoleSettings {
        RoleSettings(serde_json::to_value(self).unwrap_or_default())
    }

    /// Back from the core's form.
    pub(crate) fn from_settings(settings: &RoleSettings) -> Result<Self, String> {
        serde_json::from_value(settings.0.clone()).map_err(|e| format!("the role's settings are not ours: {e}"))
    }
}

fn name(keys: &mut Keys, key: &'static str) -> Result<Option<String>, SettingError> {
    let name: Option<String> = keys.optional(key)?;
    if let Some(n) = &name {
        quote_ident(n).map_err(|e| SettingError::new(key, format!("{n:?} cannot be a name: {e}")))?;
    }
    Ok(name)
}

fn names(keys: &mut Keys, key: &'static str) -> Result<Vec<String>, SettingError> {
    let list: Vec<String> = keys.optional(key)?.unwrap_or_default();
    for n in &list {
        quote_ident(n).map_err(|e| SettingError::new(key, format!("{n:?} cannot be a name: {e}")))?;
    }
    let mut sorted = list.clone();
    sorted.sort();
    if sorted.windows(2).any(|w| w[0] == w[1]) || list.len() > LIST_MAX {
        return Err(SettingError::new(key, format!("must be at most {LIST_MAX} different names")));
    }
    Ok(list)
}

fn session_settings(keys: &mut Keys) -> Result<BTreeMap<String, String>, SettingError> {
    let settings: BTreeMap<String, String> = keys.optional("settings")?.unwrap_or_default();
    for (name, value) in &settings {
        let at = |why: &str| SettingError::new(format!("settings.{name}"), why);
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.');
        if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(good) {
            return Err(at("is no name of a setting: lower case, digits, '_' and '.'"));
        }
        match name.as_str() {
            "role" => return Err(at("has a key of its own: set_role")),
            "search_path" => return Err(at("has a key of its own: search_path = [\"app\"]")),
            "session_authorization" => return Err(at("cannot be a default")),
            _ => quote_literal(value).map_err(|e| at(&e.to_string()))?,
        };
    }
    Ok(settings)
}

fn statements(
    keys: &mut Keys,
    key: &'static str,
    minting: bool,
    context: &RoleContext,
) -> Result<Vec<String>, SettingError> {
    let list: Vec<String> = keys.optional(key)?.unwrap_or_default();
    if list.len() > LIST_MAX {
        return Err(SettingError::new(key, format!("must be at most {LIST_MAX} statements")));
    }
    for (i, text) in list.iter().enumerate() {
        Template::parse(text, minting, |p| context.params.iter().any(|known| known == p))
            .map_err(|why| SettingError::new(format!("{key}[{i}]"), why))?;
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(table: serde_json::Value) -> Result<RoleConfig, SettingError> {
        let serde_json::Value::Object(settings) = table else { panic!("a table") };
        let context = RoleContext::of_an_hour("orders-read", vec!["tenant".into()]);
        RoleConfig::read(&context, settings, "orders")
    }

    #[test]
    fn settings_are_read_and_survive_the_core() {
        let role = read(json!({
            "member_of": ["orders_reader"], "set_role": "orders_owner", "search_path": ["app"],
            "settings": {"work_mem": "4MB"}, "creation_statements": ["SELECT f({{name}}, {{params.tenant}})"],
        }))
        .unwrap();
        assert_eq!(role.groups(), ["orders_reader", "orders_owner"]);
        assert_eq!((role.connection_limit, role.database.as_str()), (20, "orders"));
        assert_eq!(RoleConfig::from_settings(&role.clone().into_settings()).unwrap(), role);
    }

    #[test]
    fn wrong_settings_are_named() {
        for (table, key) in [
            (json!({"member_off": []}), "member_off"),
            (json!({"member_of": ["a", "a"]}), "member_of"),
            (json!({"member_of": ["x".repeat(64)]}), "member_of"),
            (json!({"owned": "keep"}), "owned"),
            (json!({"owned": "drop", "reassign_to": "a"}), "reassign_to"),
            (json!({"connection_limit": 0}), "connection_limit"),
            (json!({"settings": {"role": "a"}}), "settings.role"),
            (json!({"settings": {"a b": "a"}}), "settings.a b"),
            (json!({"creation_statements": ["SELECT 1", "SELECT {{params.x}}"]}), "creation_statements[1]"),
            (json!({"revocation_statements": ["SELECT {{verifier}}"]}), "revocation_statements[0]"),
            (json!({"database": "other", "creation_statements": ["SELECT 1"]}), "database"),
        ] {
            assert_eq!(read(table.clone()).unwrap_err().key, key, "{table}");
        }
    }
}
