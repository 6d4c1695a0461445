//! What acts with the rights of its owner: it must never get a stronger one.
//!
//! A SECURITY DEFINER function, a view, or an index over a function of the account's own does with its owner's rights what
//! the account wrote. Given to `reassign_to` it would do so with that role's rights, for whoever calls it. So such things
//! go to the estate role, which has none; tables, sequences, types and schemas go where the role says.

use leasehold_sdk::EngineError;
use tokio::time::Instant;

use super::Item;
use super::many::{Fate, Receiver, in_parts};
use crate::session::Session;

/// Hands to the estate what acts with its owner's rights, in the session's database.
pub(super) async fn to_estate(
    session: &mut Session,
    item: &Item,
    estate: Receiver<'_>,
    until: Instant,
) -> Result<(), EngineError> {
    let Some(oid) = item.present else { return Ok(()) };
    // All of it, or nothing is handed on: what were left would go to the stronger receiver.
    in_parts(session, item, estate, until, &active_sql(&format!("'{oid}'")), Fate::GiveAll).await.map_err(|e| match e {
        EngineError::Refused { why } => EngineError::refused(format!("what acts for its owner: {why}")),
        e => e,
    })
}

/// Functions that run as their owner; views and materialized views; tables with rules, or with an index or statistics over
/// a function or operator that did not come with the server (those have no entry in `pg_depend`); subscriptions. `oid` is
/// SQL for the owner's.
pub(crate) fn active_sql(oid: &str) -> String {
    format!(
        "SELECT i.type AS kind, i.identity AS identity FROM pg_catalog.pg_shdepend AS d, \
         LATERAL pg_catalog.pg_identify_object(d.classid, d.objid, d.objsubid) AS i \
         WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_authid'::pg_catalog.regclass \
         AND d.refobjid OPERATOR(pg_catalog.=) {oid}::pg_catalog.oid AND d.deptype OPERATOR(pg_catalog.=) 'o'::pg_catalog.\"char\" \
         AND d.dbid OPERATOR(pg_catalog.=) (SELECT b.oid FROM pg_catalog.pg_database AS b \
         WHERE b.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) \
         AND ((d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass AND EXISTS (\
         SELECT 1 FROM pg_catalog.pg_proc AS p WHERE p.oid OPERATOR(pg_catalog.=) d.objid AND p.prosecdef)) \
         OR (d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass AND EXISTS (\
         SELECT 1 FROM pg_catalog.pg_class AS c WHERE c.oid OPERATOR(pg_catalog.=) d.objid AND (\
         c.relkind OPERATOR(pg_catalog.=) ANY ('{{v,m}}'::pg_catalog.\"char\"[]) OR c.relhasrules OR EXISTS (\
         SELECT 1 FROM pg_catalog.pg_depend AS u WHERE u.refclassid OPERATOR(pg_catalog.=) \
         ANY (ARRAY['pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass]) AND (\
         (u.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass AND u.objid OPERATOR(pg_catalog.=) \
         ANY (SELECT x.indexrelid FROM pg_catalog.pg_index AS x WHERE x.indrelid OPERATOR(pg_catalog.=) c.oid)) \
         OR (u.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass \
         AND u.objid OPERATOR(pg_catalog.=) ANY (SELECT s.oid FROM pg_catalog.pg_statistic_ext AS s \
         WHERE s.stxrelid OPERATOR(pg_catalog.=) c.oid))))))) \
         OR d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_subscription'::pg_catalog.regclass)"
    )
}
