//! What carries our mark.

use leasehold_sdk::{EngineError, Listed, Listing, Mark, Timestamp};
use sqlx::Row;

use crate::engine::{Target, mark_name};
use crate::plan::OidReceipt;
use crate::quote::quote_literal;

/// Most accounts in one page, whatever is asked.
const PAGE_MAX: usize = 5_000;

/// Between these names, the second not included, are those of all clusters' accounts: names are compared byte by byte, and in ASCII a
/// backtick follows the underscore.
const FIRST: &str = "lh_";
const END: &str = "lh`";

/// One page of the mark's members whose names are account names of ours, in the order of their names.
pub(crate) async fn list(
    target: &Target,
    mark: &Mark,
    after: Option<&str>,
    limit: usize,
) -> Result<Listing, EngineError> {
    let mut session = target.other_session().await?;
    target.last_resort.stand_by().await;
    let limit = limit.clamp(1, PAGE_MAX);
    let rows = session.rows(&page_sql(mark, after, limit)?).await.map_err(|e| e.repeatable("list"))?;
    if rows.len() > limit {
        return Err(EngineError::retry(format!("list: {} rows where {limit} were asked for", rows.len())));
    }
    let mut accounts = Vec::with_capacity(rows.len());
    let mut last = None;
    for row in &rows {
        let read = |e: sqlx::Error| EngineError::retry(format!("list: {e}"));
        let name: String = row.try_get("name").map_err(read)?;
        let oid: i64 = row.try_get("oid").map_err(read)?;
        // Somebody may have put other roles into the group; they are none of ours.
        if let Ok(account) = name.parse() {
            let receipt = u32::try_from(oid).ok().map(|oid| OidReceipt { oid }.into_receipt());
            let until_ms: Option<i64> = row.try_get("until_ms").unwrap_or_default();
            let expires_at = until_ms.map(Timestamp::from_unix_ms);
            accounts.push(Listed { account, id: Some(oid.to_string()), expires_at, receipt });
        }
        last = Some(name);
    }
    let next = if rows.len() == limit { last } else { None };
    Ok(Listing::Page { accounts, next })
}

/// The names are walked along the index of names, and each is looked up in the group: a page costs as much as its accounts,
/// however many there are beside them. As a join the server would read the whole group for each page.
fn page_sql(mark: &Mark, after: Option<&str>, limit: usize) -> Result<String, EngineError> {
    let group = quote_literal(&mark_name(&mark.cluster))?;
    let after = quote_literal(after.unwrap_or(""))?;
    Ok(format!(
        "SELECT r.rolname::pg_catalog.text AS name, r.oid::pg_catalog.int8 AS oid, \
         CASE WHEN pg_catalog.isfinite(r.rolvaliduntil) THEN (pg_catalog.date_part('epoch', r.rolvaliduntil) \
         OPERATOR(pg_catalog.*) 1000)::pg_catalog.int8 END AS until_ms FROM pg_catalog.pg_roles AS r \
         WHERE r.rolname OPERATOR(pg_catalog.>) {after}::pg_catalog.name \
         AND r.rolname OPERATOR(pg_catalog.>=) '{FIRST}'::pg_catalog.name \
         AND r.rolname OPERATOR(pg_catalog.<) '{END}'::pg_catalog.name \
         AND (SELECT pg_catalog.count(*) FROM pg_catalog.pg_auth_members AS m \
         WHERE m.member OPERATOR(pg_catalog.=) r.oid AND m.roleid OPERATOR(pg_catalog.=) (SELECT g.oid \
         FROM pg_catalog.pg_roles AS g WHERE g.rolname OPERATOR(pg_catalog.=) {group}::pg_catalog.name)) \
         OPERATOR(pg_catalog.>) 0::pg_catalog.int8 ORDER BY r.rolname USING OPERATOR(pg_catalog.<) LIMIT {limit}"
    ))
}
