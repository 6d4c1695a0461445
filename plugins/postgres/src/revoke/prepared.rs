//! Prepared transactions: they outlive every session, hold their locks and could still commit.

use leasehold_sdk::EngineError;
use sqlx::Row;

use super::{Item, belongings};
use crate::config::Admin;
use crate::engine::{Target, mark_name};
use crate::quote::{Ident, quote_ident, quote_literal};
use crate::session::Session;

/// Rolls back every prepared transaction of the account, in the databases where they are.
pub(super) async fn roll_back(target: &Target, session: &mut Session, item: &Item) -> Result<(), EngineError> {
    let own = format!("p.owner OPERATOR(pg_catalog.=) {}::pg_catalog.name", quote_literal(&item.name)?);
    roll_back_those(target, session, item, &own).await
}

/// Rolls back those of the account, and those by which other accounts of ours lock roles: no workload changes roles in a
/// prepared transaction, unless to keep one of them alive. A superuser also rolls back those of anybody else who is none.
pub(super) async fn roll_back_in_the_way(
    target: &Target,
    session: &mut Session,
    item: &Item,
) -> Result<(), EngineError> {
    let (name, mark) = (quote_literal(&item.name)?, quote_literal(&mark_name(&target.cluster))?);
    let whoever = if session.facts().superuser && target.config.admin == Admin::Createrole {
        "NOT o.rolsuper".to_owned()
    } else {
        format!(
            "EXISTS (SELECT 1 FROM pg_catalog.pg_auth_members AS m JOIN pg_catalog.pg_roles AS g \
             ON g.oid OPERATOR(pg_catalog.=) m.roleid WHERE m.member OPERATOR(pg_catalog.=) o.oid \
             AND g.rolname OPERATOR(pg_catalog.=) {mark}::pg_catalog.name)"
        )
    };
    // A prepared transaction holds the lock of its own number; by the owner of that lock we find its others.
    let filter = format!(
        "p.owner OPERATOR(pg_catalog.=) {name}::pg_catalog.name OR (EXISTS (SELECT 1 FROM pg_catalog.pg_roles AS o \
         WHERE o.rolname OPERATOR(pg_catalog.=) p.owner AND {whoever}) \
         AND EXISTS (SELECT 1 FROM pg_catalog.pg_locks AS x JOIN pg_catalog.pg_locks AS l \
         ON l.virtualtransaction OPERATOR(pg_catalog.=) x.virtualtransaction \
         WHERE x.locktype OPERATOR(pg_catalog.=) 'transactionid' AND x.transactionid OPERATOR(pg_catalog.=) p.transaction \
         AND x.pid IS NULL AND ((l.locktype OPERATOR(pg_catalog.=) 'relation' \
         AND l.mode OPERATOR(pg_catalog.=) 'RowExclusiveLock' AND l.relation OPERATOR(pg_catalog.=) ANY (ARRAY[\
         'pg_catalog.pg_authid', 'pg_catalog.pg_auth_members', 'pg_catalog.pg_db_role_setting']::pg_catalog.regclass[])) \
         OR (l.locktype OPERATOR(pg_catalog.=) 'object' AND l.classid OPERATOR(pg_catalog.=) \
         'pg_catalog.pg_authid'::pg_catalog.regclass))))"
    );
    roll_back_those(target, session, item, &filter).await
}

async fn roll_back_those(target: &Target, session: &mut Session, item: &Item, filter: &str) -> Result<(), EngineError> {
    let sql = format!(
        "SELECT p.gid::pg_catalog.text AS gid, p.database::pg_catalog.text AS database, p.owner::pg_catalog.text AS owner, \
         (NOT b.datallowconn OR b.datconnlimit OPERATOR(pg_catalog.=) 0) AS closed FROM pg_catalog.pg_prepared_xacts AS p \
         JOIN pg_catalog.pg_database AS b ON b.datname OPERATOR(pg_catalog.=) p.database WHERE {filter}"
    );
    let rows = session.rows(&sql).await.map_err(|e| e.repeatable(&item.name))?;
    for row in &rows {
        let read =
            |column| row.try_get::<String, _>(column).map_err(|e| EngineError::retry(format!("{}: {e}", item.name)));
        let closed = row.try_get("closed").unwrap_or(false);
        let one = Prepared { gid: read("gid")?, database: read("database")?, owner: read("owner")?, closed };
        one.roll_back(target, session).await.map_err(|e| {
            let (gid, database) = (&one.gid, &one.database);
            let why = format!("{}: the prepared transaction {gid:?} in {database:?}: {}", item.name, e.why());
            if matches!(e, EngineError::Refused { .. }) { EngineError::refused(why) } else { EngineError::retry(why) }
        })?;
    }
    Ok(())
}

struct Prepared {
    gid: String,
    database: String,
    owner: String,
    /// Whether its database lets nobody in.
    closed: bool,
}

impl Prepared {
    /// Only its owner or a superuser may, in its database; as its owner we run nothing but this one statement.
    async fn roll_back(&self, target: &Target, session: &mut Session) -> Result<(), EngineError> {
        let owner = quote_ident(&self.owner)?;
        belongings::adopt(target, session, &owner, &self.owner).await?;
        let database = quote_ident(&self.database)?;
        if self.closed {
            belongings::open(session, &database).await?;
        }
        let done = self.roll_back_there(target, &owner).await;
        if self.closed {
            belongings::close(session, &database).await;
        }
        done
    }

    async fn roll_back_there(&self, target: &Target, owner: &Ident) -> Result<(), EngineError> {
        let mut there = target.sessions.in_database(&self.database, target.call_limit()).await?;
        if !there.facts().superuser {
            there.run(&format!("SET ROLE {owner}")).await.map_err(|e| e.repeatable("becoming its owner"))?;
        }
        match there.run(&format!("ROLLBACK PREPARED {}", quote_literal(&self.gid)?)).await {
            Err(e) if e.code() == Some("42704") => Ok(()), // somebody else ended it
            done => done.map_err(|e| e.repeatable("rolling it back")),
        }
    }
}
