//! What a target says about itself and about our login, in one look.

use std::collections::BTreeSet;
use std::time::Duration;

use leasehold_sdk::{EngineError, Timestamp, clock};
use serde::Deserialize;

use super::{Site, array, ask, literal};
use crate::role::RoleConfig;
use crate::session::Session;

/// The answer of one look at a target.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Facts {
    pub(super) standby: bool,
    pub(super) superuser: bool,
    pub(super) createrole: bool,
    /// Whether a membership gives our login the role's privileges; from 16 on only the default for new ones.
    pub(super) inherit: bool,
    /// Whether our login may end sessions of others.
    pub(super) may_signal: bool,
    /// Whether sessions of others show whose they are.
    pub(super) sees_sessions: bool,
    /// `max_prepared_transactions`.
    pub(super) prepared_max: u32,
    /// Whether the server offers TLS at all.
    pub(super) server_tls: bool,
    /// `ssl_ca_file`; `None` when we may not see it.
    pub(super) ca_file: Option<String>,
    /// The protocol of our own connection, such as `TLSv1.3`.
    pub(super) tls: Option<String>,
    /// The server's clock, in milliseconds since 1970.
    pub(super) clock_ms: f64,
    /// Whether everybody may create in the schema `public` of our database.
    pub(super) public_create: bool,
    /// Accounts of the cluster.
    pub(super) live: u64,
    /// Every role that matters.
    pub(super) roles: Vec<RoleFact>,
    /// Every database that matters.
    pub(super) databases: Vec<DatabaseFact>,
    /// How far the server's clock is ahead of ours, in milliseconds, and how far off that may be.
    #[serde(skip)]
    pub(super) skew_ms: i64,
    #[serde(skip)]
    pub(super) skew_unsure: Duration,
}

/// A role of the target, and what our login has of it.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct RoleFact {
    pub(super) name: String,
    /// May grant it.
    pub(super) admin: bool,
    /// Has its privileges.
    pub(super) usage: bool,
    /// May act as it (`SET ROLE`).
    pub(super) set: bool,
    /// Counts as a member of it in `pg_hba.conf`.
    pub(super) member: bool,
}

/// A database of the target.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct DatabaseFact {
    pub(super) name: String,
    /// Our login may connect.
    pub(super) ours: bool,
    /// Everybody may.
    pub(super) everybody: bool,
    /// Groups that may.
    pub(super) groups: Vec<String>,
}

impl Facts {
    /// What the target says of a role; `None`: there is none of that name.
    pub(super) fn role(&self, name: &str) -> Option<&RoleFact> {
        self.roles.iter().find(|r| r.name == name)
    }

    /// What the target says of a database.
    pub(super) fn database(&self, name: &str) -> Option<&DatabaseFact> {
        self.databases.iter().find(|d| d.name == name)
    }
}

/// Asks.
///
/// # Errors
/// As [`ask`].
pub(super) async fn gather(
    session: &mut Session,
    site: Site<'_>,
    roles: &[(String, RoleConfig)],
) -> Result<Facts, EngineError> {
    let mut names = BTreeSet::from([site.mark(), site.estate()]);
    let mut databases = BTreeSet::from([site.config.address.database.clone()]);
    for (_, role) in roles {
        names.extend(role.groups());
        names.extend(role.reassign_to.clone());
        databases.insert(role.database.clone());
    }
    let (names, databases): (Vec<_>, Vec<_>) = (names.into_iter().collect(), databases.into_iter().collect());
    let sql = sql(session.facts().major, site, &names, &databases);
    let before = clock::wall();
    let started = clock::boot();
    let mut facts: Facts = ask(session, "the rights of our login", &sql).await?;
    let took = clock::boot().saturating_sub(started);
    // The server read its clock at some moment of the round trip; the middle is off by half of it at most.
    let middle = before.plus(took / 2);
    facts.skew_ms = Timestamp::from_unix_ms(facts.clock_ms as i64).unix_ms().saturating_sub(middle.unix_ms());
    facts.skew_unsure = took / 2;
    Ok(facts)
}

fn sql(major: u32, site: Site<'_>, names: &[String], databases: &[String]) -> String {
    // Before 16 every member may act as what it is a member of.
    let set = if major >= 16 { "SET" } else { "MEMBER" };
    let (names, databases, mark) = (array(names), array(databases), literal(&site.mark()));
    // A session that is still logging in has neither user nor database: it is not hidden from us.
    format!(
        "SELECT pg_catalog.json_build_object(
  'standby', pg_catalog.pg_is_in_recovery(),
  'superuser', me.rolsuper, 'createrole', me.rolcreaterole, 'inherit', me.rolinherit,
  'may_signal', pg_catalog.pg_has_role(me.oid, 'pg_signal_backend', 'USAGE'),
  'sees_sessions', me.rolsuper OR NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity s
    WHERE s.backend_type OPERATOR(pg_catalog.=) 'client backend' AND s.usesysid IS NULL AND s.datid IS NOT NULL),
  'prepared_max', pg_catalog.current_setting('max_prepared_transactions')::pg_catalog.int4,
  'server_tls', pg_catalog.current_setting('ssl') OPERATOR(pg_catalog.=) 'on',
  'ca_file', (SELECT s.setting FROM pg_catalog.pg_settings s WHERE s.name OPERATOR(pg_catalog.=) 'ssl_ca_file'),
  'tls', (SELECT s.version FROM pg_catalog.pg_stat_ssl s WHERE s.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()),
  'clock_ms', pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) OPERATOR(pg_catalog.*) 1000,
  'public_create', EXISTS (SELECT FROM pg_catalog.pg_namespace n,
      pg_catalog.aclexplode(COALESCE(n.nspacl, pg_catalog.acldefault('n', n.nspowner))) a
    WHERE n.nspname OPERATOR(pg_catalog.=) 'public' AND a.grantee OPERATOR(pg_catalog.=) 0
      AND a.privilege_type OPERATOR(pg_catalog.=) 'CREATE'),
  'live', (SELECT pg_catalog.count(DISTINCT m.member) FROM pg_catalog.pg_auth_members m
    JOIN pg_catalog.pg_roles g ON g.oid OPERATOR(pg_catalog.=) m.roleid
    WHERE g.rolname OPERATOR(pg_catalog.=) {mark} AND m.member OPERATOR(pg_catalog.<>) me.oid),
  'roles', (SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_object('name', r.rolname,
      'admin', pg_catalog.pg_has_role(me.oid, r.oid, 'MEMBER WITH ADMIN OPTION'),
      'usage', pg_catalog.pg_has_role(me.oid, r.oid, 'USAGE'),
      'set', pg_catalog.pg_has_role(me.oid, r.oid, '{set}'),
      'member', pg_catalog.pg_has_role(me.oid, r.oid, 'MEMBER'))), '[]')
    FROM pg_catalog.pg_roles r WHERE r.rolname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ({names})),
  'databases', (SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_object('name', d.datname,
      'ours', pg_catalog.has_database_privilege(me.oid, d.oid, 'CONNECT'),
      'everybody', EXISTS (SELECT FROM pg_catalog.aclexplode(COALESCE(d.datacl, pg_catalog.acldefault('d', d.datdba))) a
        WHERE a.grantee OPERATOR(pg_catalog.=) 0 AND a.privilege_type OPERATOR(pg_catalog.=) 'CONNECT'),
      'groups', (SELECT COALESCE(pg_catalog.json_agg(r.rolname), '[]') FROM pg_catalog.pg_roles r
        WHERE r.rolname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ({names})
          AND pg_catalog.has_database_privilege(r.oid, d.oid, 'CONNECT')))), '[]')
    FROM pg_catalog.pg_database d WHERE d.datname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ({databases})
      OR (d.datallowconn AND NOT pg_catalog.has_database_privilege(me.oid, d.oid, 'CONNECT')))
)::pg_catalog.text
FROM pg_catalog.pg_roles me WHERE me.rolname OPERATOR(pg_catalog.=) CURRENT_USER"
    )
}
