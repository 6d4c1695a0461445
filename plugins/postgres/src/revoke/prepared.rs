//! Prepared transactions: they outlive every session, hold their locks and could still commit.

use leasehold_sdk::EngineError;
use sqlx::Row;

use super::Item;
use crate::engine::Target;
use crate::quote::quote_literal;
use crate::session::Session;

/// Rolls back every prepared transaction of the account, in the databases where they are.
pub(super) async fn roll_back(target: &Target, session: &mut Session, item: &Item) -> Result<(), EngineError> {
    let sql = format!(
        "SELECT p.gid::pg_catalog.text AS gid, p.database::pg_catalog.text AS database \
         FROM pg_catalog.pg_prepared_xacts AS p WHERE p.owner OPERATOR(pg_catalog.=) {}::pg_catalog.name",
        quote_literal(&item.name)?
    );
    let rows = session.rows(&sql).await.map_err(|e| e.repeatable(&item.name))?;
    for row in &rows {
        let read = |e: sqlx::Error| EngineError::retry(format!("{}: {e}", item.name));
        let (gid, database): (String, String) =
            (row.try_get("gid").map_err(read)?, row.try_get("database").map_err(read)?);
        super::belongings::adopt(target, session, item).await?;
        let mut there = target.sessions.in_database(&database, target.call_limit()).await?;
        // Only its owner or a superuser may; as its owner we run nothing but this one statement.
        if !there.facts().superuser {
            there.run(&format!("SET ROLE {}", item.ident)).await.map_err(|e| e.repeatable(&item.name))?;
        }
        let sql = format!("ROLLBACK PREPARED {}", quote_literal(&gid)?);
        match there.run(&sql).await {
            Ok(()) => {}
            Err(e) if e.code() == Some("42704") => {} // somebody else ended it
            Err(e) => {
                return Err(e.repeatable(format!("{}: its prepared transaction {gid:?} in {database:?}", item.name)));
            }
        }
    }
    Ok(())
}
