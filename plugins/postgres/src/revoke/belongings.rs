//! What an account leaves behind: handed over or dropped in each database where `pg_shdepend` knows of it.

use std::collections::HashSet;

use leasehold_sdk::EngineError;
use sqlx::Row;
use sqlx::postgres::PgRow;
use tokio::time::Instant;

use super::many::Receiver;
use super::{Item, active, many};
use crate::config::Admin;
use crate::engine::{Target, estate_name};
use crate::quote::{Ident, quote_ident, quote_literal};
use crate::role::Owned;
use crate::session::Session;
use crate::sql_error::SqlError;
use crate::statements::{Belongings, oid_array, render};
use crate::template::Values;

/// How often the databases are gone through: handing over a database makes others reachable.
const ROUNDS: usize = 3;

/// Which of these roles own something, hold grants, or have prepared transactions.
pub(super) async fn holders(session: &mut Session, oids: &[u32]) -> Result<HashSet<u32>, SqlError> {
    if oids.is_empty() {
        return Ok(HashSet::new());
    }
    let rows = session.rows(&holders_sql(oids)).await?;
    Ok(rows.iter().filter_map(|r| u32::try_from(r.try_get::<i64, _>("oid").ok()?).ok()).collect())
}

/// Asks which of these roles they are, as `oid`.
pub(super) fn holders_sql(oids: &[u32]) -> String {
    let oids = oid_array(oids);
    format!(
        "SELECT o::pg_catalog.int8 AS oid FROM pg_catalog.unnest({oids}) AS o WHERE EXISTS (\
         SELECT 1 FROM pg_catalog.pg_shdepend AS d \
         WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_authid'::pg_catalog.regclass \
         AND d.refobjid OPERATOR(pg_catalog.=) o) UNION ALL \
         SELECT r.oid::pg_catalog.int8 FROM pg_catalog.pg_prepared_xacts AS p JOIN pg_catalog.pg_roles AS r \
         ON r.rolname OPERATOR(pg_catalog.=) p.owner WHERE r.oid OPERATOR(pg_catalog.=) ANY ({oids})"
    )
}

/// Runs the role's own revocation statements.
pub(super) async fn own_statements(session: &mut Session, item: &Item) -> Result<(), EngineError> {
    if item.body.revocation_statements.is_empty() || item.present.is_none() {
        return Ok(());
    }
    let values = Values { name: &item.ident, verifier: "", expires_at: "", params: &item.body.params };
    let sql = render(&item.body.revocation_statements, false, &values)?;
    session.run(&sql).await.map_err(|e| e.repeatable(format!("{}: revocation_statements", item.name)))
}

/// Makes our login able to act for the account, where it has to be told so: a superuser needs nothing.
pub(super) async fn adopt(
    target: &Target,
    session: &mut Session,
    ident: &Ident,
    name: &str,
) -> Result<(), EngineError> {
    let facts = session.facts();
    if facts.superuser {
        return Ok(());
    }
    let sql = target.statements.adopt(ident, name, &quote_ident(&facts.user)?, facts.major)?;
    session.run(&sql).await.map_err(|e| e.repeatable(name))
}

/// Hands over, or drops, everything in every database; what is not done by `until` is for the next round.
pub(super) async fn hand_over(
    target: &Target,
    session: &mut Session,
    item: &Item,
    until: Instant,
) -> Result<(), EngineError> {
    let Some(oid) = item.present else { return Ok(()) };
    for round in 0..ROUNDS {
        let places = places(session, oid).await.map_err(|e| e.repeatable(&item.name))?;
        if places.is_empty() {
            break;
        }
        if round == 0 {
            adopt(target, session, &item.ident, &item.name).await?;
        }
        for place in places {
            let at = |e: EngineError| in_database_error(item, &place.database, e);
            if place.database == session.facts().database {
                in_one(target, session, item, until).await.map_err(at)?;
            } else {
                elsewhere(target, session, item, &place, until).await.map_err(at)?;
            }
        }
    }
    Ok(())
}

/// Opens a database. An account that owns one may have closed it, to keep us out.
pub(super) async fn open(session: &mut Session, database: &Ident) -> Result<(), EngineError> {
    let sql = format!("ALTER DATABASE {database} ALLOW_CONNECTIONS true CONNECTION LIMIT -1");
    session.run(&sql).await.map_err(|e| e.repeatable("it allows no connections"))
}

/// Closes it again, as it was: its new owner decides. If that fails it stays open, which harms nobody who is alive.
pub(super) async fn close(session: &mut Session, database: &Ident) {
    let _ = session.run(&format!("ALTER DATABASE {database} ALLOW_CONNECTIONS false")).await;
}

async fn elsewhere(
    target: &Target,
    session: &mut Session,
    item: &Item,
    place: &Place,
    until: Instant,
) -> Result<(), EngineError> {
    let database = quote_ident(&place.database)?;
    if place.closed {
        open(session, &database).await?;
    }
    let done = match target.sessions.in_database(&place.database, target.call_limit()).await {
        Ok(mut there) => in_one(target, &mut there, item, until).await,
        Err(e) => Err(e),
    };
    if place.closed {
        close(session, &database).await;
    }
    done
}

fn in_database_error(item: &Item, database: &str, e: EngineError) -> EngineError {
    let why = format!("{}: handing over what it has in database {database:?}: {}", item.name, e.why());
    match e {
        EngineError::Refused { .. } => EngineError::refused(why),
        _ => EngineError::retry(why),
    }
}

/// One database in which the role is mentioned.
struct Place {
    database: String,
    /// Whether it lets nobody in.
    closed: bool,
}

/// The databases in which the role is mentioned; what is shared by all is seen from our own, and comes last, because
/// whoever owns a database may do there what its next owner may not let us.
async fn places(session: &mut Session, oid: u32) -> Result<Vec<Place>, SqlError> {
    let sql = format!(
        "SELECT DISTINCT b.datname::pg_catalog.text AS name, \
         (NOT b.datallowconn OR b.datconnlimit OPERATOR(pg_catalog.=) 0) AS closed, \
         b.datname OPERATOR(pg_catalog.=) pg_catalog.current_database() AS home \
         FROM (SELECT DISTINCT s.dbid FROM pg_catalog.pg_shdepend AS s \
         WHERE s.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_authid'::pg_catalog.regclass \
         AND s.refobjid OPERATOR(pg_catalog.=) {oid}::pg_catalog.oid) AS d \
         JOIN pg_catalog.pg_database AS b ON b.oid OPERATOR(pg_catalog.=) d.dbid \
         OR (d.dbid OPERATOR(pg_catalog.=) 0::pg_catalog.oid \
         AND b.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) ORDER BY home"
    );
    let rows = session.rows(&sql).await?;
    let place = |r: &PgRow| Some(Place { database: r.try_get("name").ok()?, closed: r.try_get("closed").ok()? });
    Ok(rows.iter().filter_map(place).collect())
}

async fn in_one(target: &Target, session: &mut Session, item: &Item, until: Instant) -> Result<(), EngineError> {
    let estate_name = estate_name(&target.cluster);
    let estate = quote_ident(&estate_name)?;
    let named = item.body.reassign_to.as_deref();
    let receiver = named.map(quote_ident).transpose()?.unwrap_or_else(|| estate.clone());
    let to_estate = Receiver { ident: &estate, name: &estate_name };
    if item.body.owned == Owned::Drop {
        many::lessen(target, session, item, to_estate, until).await?;
        let dropped = try_disown(target, session, item, &estate, None, Owned::Drop).await;
        // What others built on its objects is not ours to drop; then they go to the estate after all.
        if !matches!(&dropped, Err(e) if e.code() == Some("2BP01")) {
            dropped.map_err(|e| e.repeatable("DROP OWNED"))?;
        }
    }
    if named.is_some() && target.config.admin == Admin::Createrole {
        active::to_estate(session, item, to_estate, until).await?;
    }
    if item.body.owned != Owned::Drop {
        let to = Receiver { ident: &receiver, name: named.unwrap_or(&estate_name) };
        many::lessen(target, session, item, to, until).await?;
    }
    try_disown(target, session, item, &receiver, named, Owned::Reassign)
        .await
        .map_err(|e| e.repeatable("REASSIGN OWNED"))
}

async fn try_disown(
    target: &Target,
    session: &mut Session,
    item: &Item,
    receiver: &Ident,
    receiver_name: Option<&str>,
    owned: Owned,
) -> Result<(), SqlError> {
    let (ident, name) = (&item.ident, item.name.as_str());
    let mut b = Belongings { ident, name, receiver, receiver_name, owned, join: None, lend: false };
    let sql = |b: &Belongings<'_>| target.statements.disown(b).map_err(|e| SqlError::Lost(e.to_string()));
    let first = session.run(&sql(&b)?).await;
    let denied = matches!(&first, Err(e) if e.code() == Some("42501"));
    if !denied || owned == Owned::Drop || target.config.admin != Admin::Createrole {
        return first;
    }
    if !has_rights_of(session, receiver_name.unwrap_or(&estate_name(&target.cluster))).await? {
        b.join = Some(quote_ident(&session.facts().user).map_err(|e| SqlError::Lost(e.to_string()))?);
    }
    b.lend = true;
    match session.run(&sql(&b)?).await {
        // It is a member of the receiver, so that the receiver cannot become one of it: then it lends nothing.
        Err(e) if e.code() == Some("0LP01") && b.join.is_some() => {
            b.lend = false;
            session.run(&sql(&b)?).await
        }
        done => done,
    }
}

pub(super) async fn has_rights_of(session: &mut Session, role: &str) -> Result<bool, SqlError> {
    let role = quote_literal(role).map_err(|e| SqlError::Lost(e.to_string()))?;
    let rows = session.rows(&format!("SELECT pg_catalog.pg_has_role({role}::pg_catalog.name, 'USAGE') AS has")).await?;
    Ok(rows.first().and_then(|r| r.try_get("has").ok()).unwrap_or(false))
}
