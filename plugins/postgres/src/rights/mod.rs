//! What the broker's login may do in a target, and what a role gives away there.
//!
//! [`check`] tells an operator which right is missing and the SQL that grants it; [`vet`] refuses a role that is too
//! strong; [`install_sql`] prints the functions by which the engine works without any right of its own.

mod check;
mod facts;
mod functions;
mod hba;
mod install;
mod strength;

use leasehold_sdk::{ClusterName, EngineError, Finding, Level, Reason};

use crate::config::TargetConfig;
use crate::engine::{Target, estate_name, mark_name};
use crate::quote::{quote_ident, quote_literal, quote_literals};
use crate::replica::{Replica, flushed};
use crate::role::RoleConfig;
use crate::session::Session;

/// The target that is looked at.
#[derive(Clone, Copy)]
struct Site<'a> {
    /// Its settings.
    config: &'a TargetConfig,
    /// The cluster whose accounts are made there.
    cluster: &'a ClusterName,
}

impl<'a> Site<'a> {
    fn of(target: &'a Target) -> Self {
        Self { config: &target.config, cluster: &target.cluster }
    }

    /// The group that every account of the cluster joins.
    fn mark(&self) -> String {
        mark_name(self.cluster)
    }

    /// The role that gets what accounts leave behind.
    fn estate(&self) -> String {
        estate_name(self.cluster)
    }
}

/// Everything worth telling an operator about a target and its roles. Being unreachable is a finding.
pub(crate) async fn check(target: &Target, roles: &[(String, RoleConfig)]) -> Vec<Finding> {
    match target.other_session().await {
        Ok(mut session) => {
            let mut found = check::findings(target, &mut session, roles).await;
            for replica in &target.replicas {
                found.push(replica_finding(target, &mut session, replica).await);
            }
            found
        }
        Err(e) => vec![finding(Level::Error, None, e.why().as_str(), None)],
    }
}

/// Whether a replica can be swept: in reach, a standby of this server, and not far behind.
async fn replica_finding(target: &Target, session: &mut Session, replica: &Replica) -> Finding {
    let looked = async {
        let mut there = replica.session(&session.facts().fingerprint, target.call_limit()).await?;
        let lsn = flushed(session).await?;
        replica.replayed(&mut there, &lsn).await
    };
    match looked.await {
        Ok(()) => finding(Level::Good, None, format!("replica {} follows this server", replica.place), None),
        Err(e) => {
            let what = format!("{e}; no lease of this target ends before it has been asked");
            finding(Level::Error, None, what, None)
        }
    }
}

/// The dangerous rights that a role gives away and that its `allow_dangerous` permits.
///
/// # Errors
/// [`EngineError::Refused`]: the role is too strong or names what is not there. [`EngineError::Retry`]: the target is away.
pub(crate) async fn vet(target: &Target, role: &RoleConfig) -> Result<Vec<String>, EngineError> {
    let mut session = target.other_session().await?;
    strength::vet(&mut session, Site::of(target), role).await
}

/// What a superuser must run for `admin = "functions"` and these roles.
pub(crate) fn install_sql(target: &Target, roles: &[(String, RoleConfig)]) -> String {
    install::install_sql(Site::of(target), roles)
}

/// One finding.
fn finding(level: Level, role: Option<&str>, what: impl AsRef<str>, fix: Option<String>) -> Finding {
    Finding { level, role: role.map(str::to_owned), what: Reason::new(what), fix }
}

/// A name for SQL. Those that come here were read from a checked configuration, and the empty name that stands for any
/// other is one that no server has.
fn ident(name: &str) -> String {
    quote_ident(name).map_or_else(|_| "\"\"".to_owned(), |i| i.to_string())
}

/// A value for SQL; as [`ident`].
fn literal(text: &str) -> String {
    quote_literal(text).map_or_else(|_| "NULL".to_owned(), |l| l.to_string())
}

/// An array of texts for SQL; as [`ident`].
fn array<T: AsRef<str>>(texts: &[T]) -> String {
    format!("ARRAY[{}]::pg_catalog.text[]", quote_literals(texts).unwrap_or_default())
}

/// Sends a query that answers one JSON text, and reads it.
///
/// # Errors
/// [`EngineError::Retry`] when the target is away or answers something else, [`EngineError::Refused`] when it refuses.
async fn ask<T: serde::de::DeserializeOwned>(session: &mut Session, what: &str, sql: &str) -> Result<T, EngineError> {
    use sqlx::Row;
    let rows = session.rows(sql).await.map_err(|e| e.repeatable(format!("cannot ask for {what}")))?;
    let text: String = rows
        .first()
        .ok_or("no row".to_owned())
        .and_then(|row| row.try_get(0).map_err(|e| e.to_string()))
        .map_err(|e| EngineError::retry(format!("cannot read {what}: {e}")))?;
    serde_json::from_str(&text).map_err(|e| EngineError::retry(format!("cannot read {what}: {e}")))
}
