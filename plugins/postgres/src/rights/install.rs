//! What an operator runs as a superuser for `admin = "functions"`.

use std::collections::BTreeSet;

use super::{Site, array, ident, literal};
use crate::config::Admin;
use crate::revoke::{active_sql, granted_sql, owned_sql};
use crate::role::RoleConfig;

/// The version of `functions.sql`. To be raised with every change there that a running broker depends on.
pub(super) const FUNCTIONS_VERSION: u32 = 2;

/// Where the functions go in a target that does not use them yet.
const DEFAULT_SCHEMA: &str = "leasehold";

/// The OID of the account that a function was called for.
const ACCOUNT_OID: &str = "(SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname OPERATOR(pg_catalog.=) account)";

const TEMPLATE: &str = include_str!("functions.sql");

/// What the functions allow: all that the configured roles need, and nothing else.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Allowed {
    pub(super) groups: Vec<String>,
    pub(super) settings: Vec<String>,
    pub(super) receivers: Vec<String>,
}

impl Allowed {
    pub(super) fn of(site: Site<'_>, roles: &[(String, RoleConfig)]) -> Self {
        let (mut groups, mut settings, mut receivers) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        receivers.insert(site.estate());
        for (_, role) in roles {
            groups.extend(role.groups());
            settings.extend(role.settings.keys().cloned());
            settings.extend((!role.search_path.is_empty()).then(|| "search_path".to_owned()));
            settings.extend(role.set_role.as_ref().map(|_| "role".to_owned()));
            receivers.extend(role.reassign_to.clone());
        }
        let list = |names: BTreeSet<String>| names.into_iter().collect();
        Self { groups: list(groups), settings: list(settings), receivers: list(receivers) }
    }
}

/// What the name of every account of the cluster begins with.
pub(super) fn prefix(site: Site<'_>) -> String {
    format!("lh_{}_", site.cluster)
}

/// The SQL that installs the functions for these roles.
pub(super) fn install_sql(site: Site<'_>, roles: &[(String, RoleConfig)]) -> String {
    let schema = match &site.config.admin {
        Admin::Functions { schema } => schema,
        Admin::Createrole => DEFAULT_SCHEMA,
    };
    let allowed = Allowed::of(site, roles);
    let login = &site.config.address.user;
    let values = [
        ("version", FUNCTIONS_VERSION.to_string()),
        ("databases", databases(site, roles)),
        ("login", ident(login)),
        ("login_shown", login.escape_debug().to_string()),
        ("login_text", literal(login)),
        ("cluster", site.cluster.to_string()),
        ("prefix", prefix(site)),
        ("prefix_text", literal(&prefix(site))),
        // Cluster names hold nothing that means something in a pattern.
        ("pattern", literal(&format!("^{}[0-9a-v]{{4}}_[0-9a-v]{{26}}$", prefix(site)))),
        ("schema", ident(schema)),
        ("schema_text", literal(schema)),
        ("mark", ident(&site.mark())),
        ("mark_text", literal(&site.mark())),
        ("estate", ident(&site.estate())),
        ("estate_text", literal(&site.estate())),
        ("groups", array(&allowed.groups)),
        ("settings", array(&allowed.settings)),
        ("receivers", array(&allowed.receivers)),
        ("active", active_sql(ACCOUNT_OID)),
        ("owned", owned_sql(ACCOUNT_OID)),
        ("granted", granted_sql(ACCOUNT_OID)),
    ];
    // The values stand inside of bodies between `$tag$`: no value may end one.
    let mut tag = "lh".to_owned();
    while values.iter().any(|(_, v)| v.contains(&format!("${tag}$"))) {
        tag.push('h');
    }
    render(&values, &tag)
}

/// One pass over the template, so that what a value holds is never taken for a placeholder.
fn render(values: &[(&str, String)], tag: &str) -> String {
    let mut out = String::with_capacity(TEMPLATE.len() * 2);
    let mut rest = TEMPLATE;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, after)) = after.split_once("}}") else { break };
        out.push_str(before);
        if name == "tag" {
            out.push_str(tag);
        } else {
            out.push_str(values.iter().find(|(n, _)| *n == name).map_or("", |(_, v)| v));
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The databases to run it in, one comment line each.
fn databases(site: Site<'_>, roles: &[(String, RoleConfig)]) -> String {
    let mut names = BTreeSet::from([site.config.address.database.as_str()]);
    names.extend(roles.iter().map(|(_, r)| r.database.as_str()));
    // A line break in a name would end the comment.
    names.into_iter().map(|n| format!("--   {}", n.escape_debug())).collect::<Vec<_>>().join("\n")
}
