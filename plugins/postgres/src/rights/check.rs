//! `leasehold check`: what stands between this broker and this target, with the SQL that mends it.

use std::collections::BTreeSet;
use std::time::Duration;

use leasehold_sdk::{EngineError, Finding, Level};

use super::facts::{DatabaseFact, Facts};
use super::{Site, facts, finding, functions, hba, ident, strength};
use crate::config::Admin;
use crate::engine::Target;
use crate::role::RoleConfig;
use crate::session::Session;

/// A server's clock further off than this ends logins too early or mints too late, in milliseconds.
const SKEW_MS_MAX: i64 = 2_000;
/// From 16 on, an admin with CREATEROLE becomes a member of every account, and each statement walks them all.
const LIVE_ACCOUNTS_MAX: u64 = 500;

/// All findings about the target of `session` and these roles.
pub(super) async fn findings(target: &Target, session: &mut Session, roles: &[(String, RoleConfig)]) -> Vec<Finding> {
    let site = Site::of(target);
    let looked = facts::gather(session, site, roles).await;
    let facts = match looked {
        Ok(facts) => facts,
        Err(e) => return vec![finding(Level::Error, None, e.why().as_str(), None)],
    };
    let look = Look { site, facts: &facts, major: session.facts().major, admin: session.facts().user.clone() };
    let mut found = look.server();
    match &site.config.admin {
        Admin::Createrole => found.extend(look.createrole()),
        Admin::Functions { schema } => {
            found.extend(look.no_more_than_functions());
            found.extend(everywhere(target, session, schema, roles).await);
        }
    }
    for (name, role) in roles {
        found.extend(look.role(name, role));
        found.extend(strong(session, site, name, role).await);
    }
    found.push(hba::advice(site, &facts, &look.admin));
    found
}

/// The functions in the target's own database and in those where accounts of these roles work.
async fn everywhere(
    target: &Target,
    session: &mut Session,
    schema: &str,
    roles: &[(String, RoleConfig)],
) -> Vec<Finding> {
    let (site, home) = (Site::of(target), &target.config.address.database);
    let failed = |e: EngineError| vec![finding(Level::Error, None, e.why().as_str(), None)];
    let mut found = functions::findings(session, site, schema, roles).await.unwrap_or_else(failed);
    let others: BTreeSet<&str> = roles.iter().map(|(_, r)| r.database.as_str()).filter(|d| d != home).collect();
    for database in others {
        let there = match target.sessions.in_database(database, target.call_limit()).await {
            Ok(mut there) => functions::findings(&mut there, site, schema, roles).await,
            Err(e) => Err(e),
        };
        found.extend(there.unwrap_or_else(failed));
    }
    found
}

async fn strong(session: &mut Session, site: Site<'_>, name: &str, role: &RoleConfig) -> Vec<Finding> {
    match strength::vet(session, site, role).await {
        Ok(allowed) => allowed
            .into_iter()
            .map(|what| {
                finding(Level::Warning, Some(name), format!("gives away {what}, as allow_dangerous says"), None)
            })
            .collect(),
        Err(EngineError::Refused { why } | EngineError::Retry { why, .. } | EngineError::Unknown { why }) => {
            vec![finding(Level::Error, Some(name), why.as_str(), None)]
        }
    }
}

/// One look at one target.
struct Look<'a> {
    site: Site<'a>,
    facts: &'a Facts,
    major: u32,
    admin: String,
}

impl Look<'_> {
    /// Reach, version, TLS, clock, and what holds for everybody.
    fn server(&self) -> Vec<Finding> {
        let (f, address) = (self.facts, &self.site.config.address);
        let reached = format!("reached PostgreSQL {} at {} as {:?}", self.major, address.host, self.admin);
        let mut found = vec![finding(Level::Good, None, reached, None)];
        if f.standby {
            let what = "the server is a standby, which takes no changes: name its primary";
            found.push(finding(Level::Error, None, what, None));
        }
        found.push(self.tls());
        found.extend(clock(f.skew_ms, f.skew_unsure));
        found.extend(self.prepared());
        if !f.sees_sessions {
            let what = "the server does not show whose the sessions of others are, so that they cannot be ended";
            found.push(finding(Level::Error, None, what, Some(self.grant("pg_read_all_stats"))));
        }
        if f.public_create {
            let what = format!(
                "everybody may create objects in the schema public of {:?}: accounts can leave things there that others \
                 then run",
                address.database
            );
            let fix =
                format!("REVOKE CREATE ON SCHEMA public FROM PUBLIC;   -- in {}", address.database.escape_debug());
            found.push(finding(Level::Warning, None, what, Some(fix)));
        }
        found
    }

    fn tls(&self) -> Finding {
        match &self.facts.tls {
            Some(version) => finding(Level::Good, None, format!("our connection is encrypted, {version}"), None),
            None if self.site.config.address.is_local() => {
                finding(Level::Good, None, "our connection is in the clear, and does not leave this machine", None)
            }
            None => {
                let what = "our connection is in the clear: whoever is in between can use it";
                let fix = "tls = { mode = \"verify-full\", ca = \"…\" }   # in the target's table; and on the server: ssl = on";
                finding(Level::Warning, None, what, Some(fix.into()))
            }
        }
    }

    /// Prepared transactions outlive the sessions of an account, and hold locks until somebody ends them.
    fn prepared(&self) -> Vec<Finding> {
        let (f, admin) = (self.facts, &self.admin);
        if f.prepared_max == 0 {
            return Vec::new();
        }
        let what = "accounts may prepare transactions here: one that locks its own account, in a database that the account \
                    owns and has closed, can keep the login open after the lease, until VALID UNTIL";
        let fix =
            "max_prepared_transactions = 0   # in postgresql.conf, then restart; or let standing roles own databases";
        let mut found = vec![finding(Level::Warning, None, what, Some(fix.into()))];
        if f.superuser {
            return found;
        }
        let what = format!(
            "accounts may prepare transactions here, which only their owner or a superuser can end: when a lease ends, \
             {admin:?} joins the account and acts as it for that one statement"
        );
        found.push(finding(Level::Good, None, what, None));
        found
    }

    /// What `admin = "createrole"` needs, whatever the role.
    fn createrole(&self) -> Vec<Finding> {
        let f = self.facts;
        if f.superuser {
            let what = format!(
                "{:?} is a superuser: it works, but whoever gets hold of that login has the whole server. With admin = \
                 \"functions\" it is as fast and needs no right",
                self.admin
            );
            return vec![finding(Level::Warning, None, what, None)];
        }
        let mut found = Vec::new();
        if !f.createrole {
            let what = format!("{:?} lacks CREATEROLE, without which it can make no account", self.admin);
            found.push(finding(
                Level::Error,
                None,
                what,
                Some(format!("ALTER ROLE {} CREATEROLE;", ident(&self.admin))),
            ));
        }
        if !f.inherit {
            let what =
                format!("{:?} is NOINHERIT, so that a membership does not give it the role's rights", self.admin);
            found.push(finding(Level::Error, None, what, Some(format!("ALTER ROLE {} INHERIT;", ident(&self.admin)))));
        }
        if !f.may_signal {
            let what = format!("{:?} lacks pg_signal_backend, without which it cannot end sessions", self.admin);
            found.push(finding(Level::Error, None, what, Some(self.grant("pg_signal_backend"))));
        }
        found.extend(self.own_roles());
        if self.major >= 16 && f.live > LIVE_ACCOUNTS_MAX {
            let what = format!(
                "{} accounts live here. From PostgreSQL 16 on, {:?} is a member of each account it makes, and each of its \
                 statements walks them all: at 5,000 a mint takes 20 to 50 ms. admin = \"functions\" takes 0.3 ms at any number",
                f.live, self.admin
            );
            let fix = "admin = \"functions\"   # in the target's table; then: leasehold check --install-sql".to_owned();
            found.push(finding(Level::Warning, None, what, Some(fix)));
        }
        found
    }

    /// The cluster's own two roles, if they are there already: else the admin makes them, and then may grant them.
    fn own_roles(&self) -> Vec<Finding> {
        [self.site.mark(), self.site.estate()].iter().filter_map(|name| self.must_grant(None, name)).collect()
    }

    /// With functions, every right of the login is one too many.
    fn no_more_than_functions(&self) -> Option<Finding> {
        let (what, fix) = match self.facts {
            Facts { superuser: true, .. } => ("a superuser", "NOSUPERUSER NOCREATEROLE"),
            Facts { createrole: true, .. } => ("one with CREATEROLE", "NOCREATEROLE"),
            _ => return None,
        };
        let what = format!("{:?} is {what}, which admin = \"functions\" does not need", self.admin);
        Some(finding(Level::Warning, None, what, Some(format!("ALTER ROLE {} {fix};", ident(&self.admin)))))
    }

    /// What one role needs of the target.
    fn role(&self, name: &str, role: &RoleConfig) -> Vec<Finding> {
        let mut found = Vec::new();
        if self.site.config.admin == Admin::Createrole && !self.facts.superuser {
            found.extend(role.groups().iter().filter_map(|group| self.must_grant(Some(name), group)));
            found.extend(role.reassign_to.as_ref().and_then(|receiver| self.must_hand_over(name, receiver)));
        }
        found.extend(self.database(name, role));
        found.extend(self.other_databases(name, role));
        found
    }

    /// Up to 15, CREATEROLE lets a login grant every role that is no superuser; from 16 on it takes ADMIN on each.
    fn must_grant(&self, role: Option<&str>, group: &str) -> Option<Finding> {
        let fact = self.facts.role(group)?;
        if self.facts.superuser || self.major < 16 || fact.admin {
            return None;
        }
        let what = format!("{:?} may not grant {group:?}: it lacks ADMIN on it", self.admin);
        // No more than that: neither the group's privileges nor SET ROLE.
        let options = "ADMIN TRUE, INHERIT FALSE, SET FALSE";
        let fix = format!("GRANT {} TO {} WITH {options};", ident(group), ident(&self.admin));
        Some(finding(Level::Error, role, what, Some(fix)))
    }

    /// REASSIGN OWNED takes the privileges of the receiver and the right to act as it. Who may grant it joins it for that.
    fn must_hand_over(&self, role: &str, receiver: &str) -> Option<Finding> {
        let fact = self.facts.role(receiver)?;
        if fact.usage && fact.set {
            return None;
        }
        let mut found = self.must_grant(Some(role), receiver)?;
        let what = format!("{:?} may not hand objects over to {receiver:?}: it lacks ADMIN on it", self.admin);
        found.what = leasehold_sdk::Reason::new(what);
        Some(found)
    }

    /// The accounts and we must be able to connect: they to work, we to hand over what they leave.
    fn database(&self, name: &str, role: &RoleConfig) -> Vec<Finding> {
        let Some(database) = self.facts.database(&role.database) else {
            let what = format!("the target has no database {:?}", role.database);
            let fix = format!("CREATE DATABASE {};", ident(&role.database));
            return vec![finding(Level::Error, Some(name), what, Some(fix))];
        };
        let mut found = Vec::new();
        if !database.ours {
            found.push(self.must_connect(name, &role.database));
        }
        if !may_connect(database, role) {
            let what = format!("accounts of this role may not connect to {:?}", role.database);
            let mark = self.site.mark();
            let to = role.groups().into_iter().next().unwrap_or(mark);
            found.push(finding(Level::Error, Some(name), what, Some(connect(&role.database, &to))));
        }
        found
    }

    /// An account may leave things, or prepare transactions, wherever it may connect.
    fn other_databases(&self, name: &str, role: &RoleConfig) -> Vec<Finding> {
        let others = self.facts.databases.iter().filter(|d| d.name != role.database && !d.ours && may_connect(d, role));
        others.map(|d| self.must_connect(name, &d.name)).collect()
    }

    fn must_connect(&self, name: &str, database: &str) -> Finding {
        let what = format!(
            "{:?} may not connect to {database:?}, to hand over what accounts of this role leave there",
            self.admin
        );
        finding(Level::Error, Some(name), what, Some(connect(database, &self.admin)))
    }

    /// Membership of our login with the role's privileges.
    fn grant(&self, role: &str) -> String {
        let options = if self.major >= 16 { " WITH INHERIT TRUE" } else { "" };
        format!("GRANT {} TO {}{options};", ident(role), ident(&self.admin))
    }
}

/// The statement that lets a role connect.
fn connect(database: &str, to: &str) -> String {
    format!("GRANT CONNECT ON DATABASE {} TO {};", ident(database), ident(to))
}

fn may_connect(database: &DatabaseFact, role: &RoleConfig) -> bool {
    database.everybody || role.groups().iter().any(|g| database.groups.contains(g))
}

/// How far the server's clock is ahead of ours, in milliseconds, if that is too far even when it is `unsure` less.
fn clock(skew_ms: i64, unsure: Duration) -> Option<Finding> {
    let unsure = i64::try_from(unsure.as_millis()).unwrap_or(i64::MAX);
    if skew_ms.saturating_abs().saturating_sub(unsure) <= SKEW_MS_MAX {
        return None;
    }
    let way = if skew_ms > 0 { "ahead of" } else { "behind" };
    let seconds = skew_ms.saturating_abs() as f64 / 1000.0;
    let what = format!(
        "the server's clock is {seconds:.1} s {way} ours: mints are carried out until their deadline by that clock, and it \
         ends logins (VALID UNTIL). Set both by NTP"
    );
    Some(finding(Level::Warning, None, what, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_told_of_when_it_is_surely_off() {
        assert!(clock(2_000, Duration::ZERO).is_none());
        assert!(clock(-2_400, Duration::from_millis(500)).is_none(), "the round trip explains it");
        assert!(clock(2_001, Duration::ZERO).unwrap().what.as_str().contains("2.0 s ahead of"));
        assert!(clock(i64::MIN, Duration::ZERO).unwrap().what.as_str().contains("behind"));
    }
}
