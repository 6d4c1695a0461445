//! Whether the functions of `admin = "functions"` are installed in a target, and as this configuration needs them.

use leasehold_sdk::{EngineError, Finding, Level};
use serde::Deserialize;

use super::install::{Allowed, FUNCTIONS_VERSION, prefix};
use super::{Site, ask, finding, ident, literal};
use crate::role::RoleConfig;
use crate::session::Session;

/// Every function that the engine calls, with its arguments as the server spells them.
const EXPECTED: [(&str, &str); 16] = [
    ("version", ""),
    ("allowed", "text"),
    ("mint", "text, bigint, timestamp with time zone, text, timestamp with time zone, integer, text[], text[]"),
    ("renew", "text, timestamp with time zone"),
    ("fence", "text[]"),
    ("terminate", "text[], oid[]"),
    ("evict", "text"),
    ("sessions", "oid[]"),
    ("unlock", "bigint"),
    ("borrow", "text"),
    ("disown", "text, text, boolean"),
    ("hand_over_some", "text, text, boolean, integer"),
    ("drop_accounts", "text[]"),
    ("must_be_ours", "text"),
    ("present", "text[]"),
    ("setting", "text"),
];

/// One function as it is installed.
#[derive(Debug, Clone, Deserialize)]
struct Installed {
    name: String,
    arguments: String,
    definer: bool,
    owner_is_superuser: bool,
    ours: bool,
    /// Who else may call it, other than its owner; the empty name is everybody.
    others: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Lists {
    version: u32,
    prefix: Vec<String>,
    group: Vec<String>,
    setting: Vec<String>,
    receiver: Vec<String>,
}

/// The findings about the functions in the database that `session` is in.
///
/// # Errors
/// As [`ask`].
pub(super) async fn findings(
    session: &mut Session,
    site: Site<'_>,
    schema: &str,
    roles: &[(String, RoleConfig)],
) -> Result<Vec<Finding>, EngineError> {
    let database = session.facts().database.clone();
    let installed = installed(session, schema).await?;
    let run = || Some(format!("leasehold check --install-sql   # run what it prints as a superuser in {database}"));
    let error = |what: String| finding(Level::Error, None, what, run());
    let mut found = Vec::new();
    let missing: Vec<&str> = EXPECTED
        .iter()
        .filter(|(name, arguments)| !installed.iter().any(|i| i.name == *name && i.arguments == *arguments))
        .map(|(name, _)| *name)
        .collect();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        return Ok(vec![error(format!("the schema {schema:?} of {database:?} lacks the functions {missing}"))]);
    }
    if installed.iter().any(|i| !i.ours) {
        return Ok(vec![error(format!("our login may not call the functions in the schema {schema:?}"))]);
    }
    for i in &installed {
        if i.definer && !i.owner_is_superuser {
            found.push(error(format!("the function {} in {schema:?} does not belong to a superuser", i.name)));
        }
    }
    found.extend(strangers(schema, &installed));
    let lists = lists(session, schema).await?;
    found.extend(differences(site, &lists, roles).into_iter().map(error));
    if found.is_empty() {
        let what =
            format!("the functions in the schema {schema:?} of {database:?} are installed, version {}", lists.version);
        found.push(finding(Level::Good, None, what, None));
    }
    Ok(found)
}

/// Whoever else may call them could make accounts too.
fn strangers(schema: &str, installed: &[Installed]) -> Vec<Finding> {
    let mut names: Vec<&str> = installed.iter().flat_map(|i| i.others.iter().map(String::as_str)).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .map(|name| {
            let (who, sql) = if name.is_empty() { ("everybody", "PUBLIC".into()) } else { (name, ident(name)) };
            let fix = format!("REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {} FROM {sql};", ident(schema));
            finding(Level::Error, None, format!("{who} may call the functions in the schema {schema:?} too"), Some(fix))
        })
        .collect()
}

fn differences(site: Site<'_>, lists: &Lists, roles: &[(String, RoleConfig)]) -> Vec<String> {
    let mut found = Vec::new();
    if lists.version != FUNCTIONS_VERSION {
        found.push(format!("the functions are of version {}; this broker needs {FUNCTIONS_VERSION}", lists.version));
    }
    if lists.prefix != [prefix(site)] {
        found.push(format!("the functions are for accounts {:?}, not for ours, {:?}", lists.prefix, prefix(site)));
    }
    let needed = Allowed::of(site, roles);
    for (what, needed, listed) in [
        ("group", &needed.groups, &lists.group),
        ("setting", &needed.settings, &lists.setting),
        ("receiver", &needed.receivers, &lists.receiver),
    ] {
        for name in needed.iter().filter(|n| !listed.contains(n)) {
            found.push(format!("the {what} {name:?} is not on the functions' list"));
        }
    }
    found
}

async fn installed(session: &mut Session, schema: &str) -> Result<Vec<Installed>, EngineError> {
    let expected: Vec<&str> = EXPECTED.iter().map(|(name, _)| *name).collect();
    let (schema, expected) = (literal(schema), super::array(&expected));
    let sql = format!(
        "SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_object('name', p.proname,
           'arguments', pg_catalog.oidvectortypes(p.proargtypes), 'definer', p.prosecdef, 'owner_is_superuser', o.rolsuper,
           'ours', pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_function_privilege(p.oid, 'EXECUTE'),
           'others', (SELECT COALESCE(pg_catalog.json_agg(COALESCE(g.rolname, '')), '[]')
             FROM pg_catalog.aclexplode(COALESCE(p.proacl, pg_catalog.acldefault('f', p.proowner))) a
             LEFT JOIN pg_catalog.pg_roles g ON g.oid OPERATOR(pg_catalog.=) a.grantee
             WHERE a.grantee OPERATOR(pg_catalog.<>) p.proowner AND g.rolname IS DISTINCT FROM CURRENT_USER))), '[]')::pg_catalog.text
         FROM pg_catalog.pg_proc p
         JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
         JOIN pg_catalog.pg_roles o ON o.oid OPERATOR(pg_catalog.=) p.proowner
         WHERE n.nspname OPERATOR(pg_catalog.=) {schema} AND p.proname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ({expected})"
    );
    ask(session, "the installed functions", &sql).await
}

async fn lists(session: &mut Session, schema: &str) -> Result<Lists, EngineError> {
    let s = ident(schema);
    let list = |what: &str| format!("'{what}', pg_catalog.to_json({s}.allowed('{what}'))");
    let sql = format!(
        "SELECT pg_catalog.json_build_object('version', {s}.version(), {}, {}, {}, {})::pg_catalog.text",
        list("prefix"),
        list("group"),
        list("setting"),
        list("receiver")
    );
    ask(session, "the lists in the installed functions", &sql).await
}
