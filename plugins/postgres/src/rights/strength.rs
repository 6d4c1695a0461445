//! Too strong a role: what an account of a role could reach, by every membership, however it was granted.
//!
//! A membership `WITH INHERIT FALSE` is reached by `SET ROLE`, one `WITH SET FALSE` gives its privileges, and one with
//! ADMIN alone can grant itself the others. So all of them count, in every version.

use std::collections::BTreeSet;

use leasehold_sdk::{AccountName, EngineError};
use serde::Deserialize;

use super::{Site, array, ask};
use crate::role::RoleConfig;
use crate::session::Session;

/// Roles of the server itself that amount to a superuser: they reach the server's files and programs.
const STRONG: [&str; 3] = ["pg_execute_server_program", "pg_read_server_files", "pg_write_server_files"];

/// A role that an account, or whoever gets what it leaves behind, can act as.
#[derive(Debug, Clone, Default, Deserialize)]
struct Reached {
    name: String,
    /// Whether the configuration names it, rather than a membership.
    named: bool,
    login: bool,
    superuser: bool,
    createrole: bool,
    replication: bool,
    bypassrls: bool,
}

/// See [`super::vet`].
pub(super) async fn vet(session: &mut Session, site: Site<'_>, role: &RoleConfig) -> Result<Vec<String>, EngineError> {
    let admin = session.facts().user.clone();
    let groups = role.groups();
    let mut allowed = BTreeSet::new();
    let reached = walk(session, &groups).await?;
    exist(&groups, &reached)?;
    for r in &reached {
        allowed.extend(judge(r, site, &admin, &role.allow_dangerous, Use::Group)?);
    }
    let receivers: Vec<String> = role.reassign_to.iter().cloned().collect();
    let reached = walk(session, &receivers).await?;
    exist(&receivers, &reached)?;
    for r in &reached {
        allowed.extend(judge(r, site, &admin, &role.allow_dangerous, Use::Receiver)?);
    }
    Ok(allowed.into_iter().collect())
}

/// What a role is reached for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// The account joins it.
    Group,
    /// It gets what the account owned, functions that run with their owner's rights among it.
    Receiver,
}

async fn walk(session: &mut Session, start: &[String]) -> Result<Vec<Reached>, EngineError> {
    if start.is_empty() {
        return Ok(Vec::new());
    }
    let start = array(start);
    let sql = format!(
        "WITH RECURSIVE reach(id) AS (
           SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ({start})
           UNION
           SELECT m.roleid FROM pg_catalog.pg_auth_members m JOIN reach ON m.member OPERATOR(pg_catalog.=) reach.id)
         SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_object(
           'name', r.rolname, 'named', r.rolname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ({start}),
           'login', r.rolcanlogin, 'superuser', r.rolsuper, 'createrole', r.rolcreaterole,
           'replication', r.rolreplication, 'bypassrls', r.rolbypassrls) ORDER BY r.rolname), '[]')::pg_catalog.text
         FROM pg_catalog.pg_roles r JOIN reach ON reach.id OPERATOR(pg_catalog.=) r.oid"
    );
    ask(session, "the memberships of a role's groups", &sql).await
}

fn exist(names: &[String], reached: &[Reached]) -> Result<(), EngineError> {
    let missing: Vec<&str> =
        names.iter().filter(|n| !reached.iter().any(|r| r.name == **n)).map(String::as_str).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(EngineError::refused(format!("the target has no role {}", quoted(&missing))))
}

/// The dangerous rights of one reached role, all of them allowed; or why it is refused.
fn judge(r: &Reached, site: Site<'_>, admin: &str, allow: &[String], by: Use) -> Result<Vec<String>, EngineError> {
    let way = match (by, r.named) {
        (Use::Group, true) => "is handed out by this role",
        (Use::Group, false) => "is reached through a group of this role",
        (Use::Receiver, true) => "gets what accounts of this role leave behind",
        (Use::Receiver, false) => "is reached by the role that gets what accounts of this role leave behind",
    };
    refuse_ours(r, site, way)?;
    if by == Use::Receiver && r.name == admin {
        return Err(EngineError::refused(format!("{:?} {way}, and is the broker's own admin: name another", r.name)));
    }
    let mut allowed = Vec::new();
    for (word, shown) in dangers(r, admin, by) {
        if !allow.contains(&word) {
            return Err(EngineError::refused(format!(
                "{:?} {way} and has {shown}: take it away, or accept it with allow_dangerous = [{word:?}]",
                r.name
            )));
        }
        allowed.push(if word == r.name { word } else { format!("{word} of {}", r.name) });
    }
    Ok(allowed)
}

/// Roles of a cluster's own are never handed out: an account would get what others left behind, or be another's.
fn refuse_ours(r: &Reached, site: Site<'_>, way: &str) -> Result<(), EngineError> {
    let ours = r.name.parse::<AccountName>().is_ok() || r.name == site.mark() || r.name == site.estate();
    if !ours {
        return Ok(());
    }
    Err(EngineError::refused(format!("{:?} {way}, but is one of Leasehold's own roles", r.name)))
}

/// What is dangerous about a role: the word for `allow_dangerous`, and the words for a person.
fn dangers(r: &Reached, admin: &str, by: Use) -> Vec<(String, String)> {
    if r.name == admin {
        // Whatever else it has goes with that.
        return vec![(r.name.clone(), "the rights of the broker's own admin login".into())];
    }
    let attributes = [
        (r.superuser, "SUPERUSER"),
        (r.createrole, "CREATEROLE"),
        (r.replication, "REPLICATION"),
        (r.bypassrls, "BYPASSRLS"),
    ];
    let mut found: Vec<(String, String)> =
        attributes.iter().filter(|(has, _)| *has).map(|(_, w)| ((*w).into(), (*w).into())).collect();
    if STRONG.contains(&r.name.as_str()) {
        found.push((r.name.clone(), "the server's files or programs".into()));
    }
    if by == Use::Group && r.named && r.login {
        found.push((r.name.clone(), "LOGIN, so that somebody else acts as it too".into()));
    }
    found
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|n| format!("{n:?}")).collect::<Vec<_>>().join(", ")
}
