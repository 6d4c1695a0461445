//! The two standing roles of a cluster: the group that marks its accounts, and the estate that gets what they leave behind.

use leasehold_sdk::EngineError;
use sqlx::Row;

use crate::config::Admin;
use crate::engine::{Target, estate_name, mark_name};
use crate::quote::{quote_ident, quote_literal, quote_literals};
use crate::session::Session;

/// Makes both roles where they are missing. With `admin = "functions"` they were installed with the functions.
///
/// # Errors
/// [`EngineError::Refused`] when one is missing and we may not make it.
pub(crate) async fn ensure(target: &Target, session: &mut Session) -> Result<(), EngineError> {
    if target.config.admin != Admin::Createrole {
        return Ok(());
    }
    let (mark, estate) = (mark_name(&target.cluster), estate_name(&target.cluster));
    let sql = format!(
        "SELECT r.rolname::pg_catalog.text AS name FROM pg_catalog.pg_roles AS r \
         WHERE r.rolname OPERATOR(pg_catalog.=) ANY (ARRAY[{}]::pg_catalog.name[])",
        quote_literals(&[&mark, &estate])?
    );
    let rows = session.rows(&sql).await.map_err(|e| e.repeatable("looking for our group"))?;
    let there: Vec<String> = rows.iter().filter_map(|r| r.try_get("name").ok()).collect();
    for name in [mark, estate].into_iter().filter(|n| !there.contains(n)) {
        let made = session.run(&format!("CREATE ROLE {} NOLOGIN", quote_ident(&name)?)).await;
        match made {
            Ok(()) => {}
            // Another broker of the cluster was faster: the name is taken, or about to be.
            Err(e) if matches!(e.code(), Some("42710" | "23505")) => {}
            Err(e) => return Err(e.repeatable(format!("cannot make the role {name}"))),
        }
    }
    join_estate(session, &estate_name(&target.cluster)).await
}

/// What an account owned can only be given to a role whose rights we have. The estate has none, so that we gain none.
/// Where we may not join it, `check` says so and revocations that need it do.
async fn join_estate(session: &mut Session, estate: &str) -> Result<(), EngineError> {
    if has_joined(session, estate).await? {
        return Ok(());
    }
    let facts = session.facts();
    let options = if facts.major >= 16 { " WITH INHERIT TRUE, SET TRUE" } else { "" };
    let sql = format!("GRANT {} TO {}{options}", quote_ident(estate)?, quote_ident(&facts.user)?);
    match session.run(&sql).await {
        Ok(()) => Ok(()),
        Err(e) if e.code() == Some("42501") => Ok(()),
        // Two at once: the server refuses the slower one, be it by its own index or because the row has just changed.
        Err(e) if matches!(e.code(), Some("23505" | "XX000")) && has_joined(session, estate).await? => Ok(()),
        Err(e) => Err(e.repeatable("joining the estate role")),
    }
}

async fn has_joined(session: &mut Session, estate: &str) -> Result<bool, EngineError> {
    let sql = format!("SELECT pg_catalog.pg_has_role({}::pg_catalog.name, 'USAGE') AS joined", quote_literal(estate)?);
    let rows = session.rows(&sql).await.map_err(|e| e.repeatable("looking for the estate role"))?;
    Ok(rows.first().and_then(|r| r.try_get("joined").ok()).unwrap_or(false))
}
