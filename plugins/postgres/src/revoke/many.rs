//! An account with very many objects. `REASSIGN OWNED` is one statement: with a million large objects it runs into its time
//! limit or out of locks, and each retry begins anew. So they are handed over in parts, each a transaction of its own:
//! what is done stays done, and whatever is left in the end is little.

use leasehold_sdk::EngineError;
use sqlx::Row;
use tokio::time::Instant;

use super::Item;
use super::belongings::has_rights_of;
use crate::config::Admin;
use crate::engine::Target;
use crate::quote::{Ident, quote_ident};
use crate::role::Owned;
use crate::session::Session;
use crate::sql_error::SqlError;
use crate::statements::lent;

/// Up to so many, in one database, the plain statements do at once.
const MANY: usize = 1_000;
/// Objects in one transaction, at most: each may take several locks, and the server's table of locks is for everybody.
const PART_MAX: usize = 500;
/// Objects that are listed at once.
const LIST_MAX: usize = 1_000;

/// What becomes of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// They get the new owner; whoever cannot is left for `REASSIGN OWNED`.
    Give,
    /// They get the new owner, and nothing may be left.
    GiveAll,
    /// They are dropped; what others built upon gets the new owner.
    Drop,
    /// What the account was granted on them is taken back.
    Unshare,
}

/// One object, in the server's own words: its kind, and its name, qualified and quoted as the server does.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Thing {
    kind: String,
    identity: String,
}

/// Who gets what an account leaves behind.
#[derive(Clone, Copy)]
pub(super) struct Receiver<'a> {
    pub(super) ident: &'a Ident,
    pub(super) name: &'a str,
}

/// Makes much into little, in the session's database.
pub(super) async fn lessen(
    target: &Target,
    session: &mut Session,
    item: &Item,
    receiver: Receiver<'_>,
    until: Instant,
) -> Result<(), EngineError> {
    let Some(oid) = item.present else { return Ok(()) };
    if !is_many(session, oid).await.map_err(|e| e.repeatable(&item.name))? {
        return Ok(());
    }
    if target.config.admin != Admin::Createrole {
        return by_functions(target, session, item, until).await;
    }
    let fate = if item.body.owned == Owned::Drop { Fate::Drop } else { Fate::Give };
    let mut parts = Parts { session, item, receiver, until, size: PART_MAX };
    parts.all(&owned_sql(&format!("'{oid}'")), fate).await?;
    parts.all(&granted_sql(&format!("'{oid}'")), Fate::Unshare).await
}

/// Does with all objects of a list what `fate` says. `list` is SQL for their kinds and names, without those done already.
pub(super) async fn in_parts(
    session: &mut Session,
    item: &Item,
    receiver: Receiver<'_>,
    until: Instant,
    list: &str,
    fate: Fate,
) -> Result<(), EngineError> {
    Parts { session, item, receiver, until, size: PART_MAX }.all(list, fate).await
}

async fn is_many(session: &mut Session, oid: u32) -> Result<bool, SqlError> {
    let sql = format!("SELECT 1 FROM {} LIMIT {MANY}", mentions(&format!("'{oid}'")));
    Ok(session.rows(&sql).await?.len() == MANY)
}

async fn by_functions(target: &Target, session: &mut Session, item: &Item, until: Instant) -> Result<(), EngineError> {
    let mut size = PART_MAX;
    loop {
        in_time(item, until)?;
        let (to, drop) = (item.body.reassign_to.as_deref(), item.body.owned == Owned::Drop);
        let done = session.rows(&target.statements.hand_over_some(&item.name, to, drop, size)?).await;
        match done {
            Ok(rows) => {
                let moved: i32 = rows.last().and_then(|r| r.try_get("moved").ok()).unwrap_or(0);
                if moved == 0 {
                    return Ok(());
                }
            }
            Err(SqlError::Said { .. }) if size > 1 => size /= 2,
            Err(e) => return Err(e.repeatable("handing over in parts")),
        }
    }
}

fn in_time(item: &Item, until: Instant) -> Result<(), EngineError> {
    if Instant::now() < until {
        return Ok(());
    }
    let why = format!("{} left so much that it is handed over in parts; the next round goes on", item.name);
    Err(EngineError::retry(why))
}

struct Parts<'a> {
    session: &'a mut Session,
    item: &'a Item,
    receiver: Receiver<'a>,
    until: Instant,
    /// How many the next transaction takes.
    size: usize,
}

impl Parts<'_> {
    async fn all(&mut self, list: &str, fate: Fate) -> Result<(), EngineError> {
        let mut before = Vec::new();
        loop {
            let things = self.list(list).await.map_err(|e| e.repeatable(&self.item.name))?;
            // The same once more: they resist, and the statement that takes the rest tells why.
            if things.is_empty() || things == before {
                return Ok(());
            }
            self.each(&things, fate).await?;
            before = things;
        }
    }

    async fn list(&mut self, list: &str) -> Result<Vec<Thing>, SqlError> {
        let rows = self.session.rows(&format!("{list} LIMIT {LIST_MAX}")).await?;
        let thing = |r: &sqlx::postgres::PgRow| {
            Some(Thing { kind: r.try_get("kind").ok()?, identity: r.try_get("identity").ok()? })
        };
        Ok(rows.iter().filter_map(thing).collect())
    }

    /// Part by part. One that fails is halved, down to the object that is the reason.
    async fn each(&mut self, things: &[Thing], fate: Fate) -> Result<(), EngineError> {
        let mut at = 0;
        while at < things.len() {
            in_time(self.item, self.until)?;
            let part = &things[at..things.len().min(at + self.size)];
            let e = match self.send(part, fate).await {
                Ok(()) => {
                    at += part.len();
                    self.size = (self.size * 2).min(PART_MAX);
                    continue;
                }
                Err(e) => e,
            };
            let lost = matches!(e, SqlError::Lost(_));
            if part.len() > 1 && !lost {
                self.size = part.len() / 2;
                continue;
            }
            if lost || e.is_contention() || fate == Fate::GiveAll {
                return Err(e.repeatable(format!("handing over {} {}", part[0].kind, part[0].identity)));
            }
            if fate == Fate::Drop {
                // If that fails too, it is left for the end.
                let _ = self.send(part, Fate::Give).await;
            }
            at += 1;
        }
        Ok(())
    }

    async fn send(&mut self, part: &[Thing], fate: Fate) -> Result<(), SqlError> {
        let sql: String = part.iter().map(|t| t.sql(fate, &self.item.ident, self.receiver.ident)).collect();
        let denied = match self.session.run(&sql).await {
            Err(e) if e.code() == Some("42501") && matches!(fate, Fate::Give | Fate::GiveAll) => e,
            done => return done,
        };
        if self.session.facts().superuser {
            return Err(denied);
        }
        // An owner can only be made by who has its rights, and it needs those of the place, which the account had.
        let us = quote_ident(&self.session.facts().user).map_err(|e| SqlError::Lost(e.to_string()))?;
        let join = (!has_rights_of(self.session, self.receiver.name).await?).then_some(us);
        let lend = |lend| lent(&sql, &self.item.ident, self.receiver.ident, join.as_ref(), lend);
        match self.session.run(&lend(true)).await {
            // It is a member of the receiver, so that the receiver cannot become one of it: then it lends nothing.
            Err(e) if e.code() == Some("0LP01") && join.is_some() => self.session.run(&lend(false)).await,
            done => done,
        }
    }
}

impl Thing {
    fn sql(&self, fate: Fate, account: &Ident, receiver: &Ident) -> String {
        let Self { kind, identity } = self;
        match fate {
            Fate::Give | Fate::GiveAll => format!("ALTER {kind} {identity} OWNER TO {receiver};"),
            Fate::Drop if kind == "large object" => {
                format!("SELECT pg_catalog.lo_unlink('{identity}'::pg_catalog.oid);")
            }
            Fate::Drop => format!("DROP {kind} {identity};"),
            Fate::Unshare => format!("REVOKE ALL ON {kind} {identity} FROM {account} CASCADE;"),
        }
    }
}

/// All that mentions a role in the present database. `oid` is SQL for the role's.
fn mentions(oid: &str) -> String {
    format!(
        "pg_catalog.pg_shdepend AS d WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_authid'::pg_catalog.regclass \
         AND d.refobjid OPERATOR(pg_catalog.=) {oid}::pg_catalog.oid \
         AND d.dbid OPERATOR(pg_catalog.=) (SELECT b.oid FROM pg_catalog.pg_database AS b \
         WHERE b.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())"
    )
}

fn classes(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|n| format!("'pg_catalog.{n}'")).collect();
    format!("d.classid OPERATOR(pg_catalog.=) ANY (ARRAY[{}]::pg_catalog.regclass[])", names.join(","))
}

/// What a role owns, of the kinds of which an ordinary login can make many. Sequences that belong to a column go with
/// their table. `oid` is SQL for the owner's.
pub(crate) fn owned_sql(oid: &str) -> String {
    format!(
        "SELECT CASE i.type WHEN 'composite type' THEN 'type' WHEN 'statistics object' THEN 'statistics' ELSE i.type END AS kind, \
         i.identity AS identity FROM (SELECT d.classid, d.objid, d.objsubid FROM {} \
         AND d.deptype OPERATOR(pg_catalog.=) 'o'::pg_catalog.\"char\" AND {} AND NOT EXISTS (\
         SELECT 1 FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_depend AS p ON p.objid OPERATOR(pg_catalog.=) c.oid \
         WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass \
         AND c.oid OPERATOR(pg_catalog.=) d.objid AND c.relkind OPERATOR(pg_catalog.=) 'S'::pg_catalog.\"char\" \
         AND p.classid OPERATOR(pg_catalog.=) d.classid AND p.refclassid OPERATOR(pg_catalog.=) d.classid \
         AND p.deptype OPERATOR(pg_catalog.=) ANY ('{{a,i}}'::pg_catalog.\"char\"[]))) AS d, \
         LATERAL pg_catalog.pg_identify_object(d.classid, d.objid, d.objsubid) AS i WHERE i.identity IS NOT NULL",
        mentions(oid),
        classes(&[
            "pg_largeobject",
            "pg_class",
            "pg_proc",
            "pg_type",
            "pg_namespace",
            "pg_operator",
            "pg_opclass",
            "pg_opfamily",
            "pg_collation",
            "pg_conversion",
            "pg_ts_dict",
            "pg_ts_config",
            "pg_statistic_ext",
        ])
    )
}

/// On what a role was granted something, of the same kinds, as `REVOKE` calls them.
pub(crate) fn granted_sql(oid: &str) -> String {
    format!(
        "SELECT CASE WHEN i.type OPERATOR(pg_catalog.=) ANY (ARRAY['large object', 'schema', 'type', 'sequence']) THEN i.type \
         WHEN d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass THEN 'routine' ELSE 'table' END AS kind, \
         i.identity AS identity, d.classid AS class, d.objid AS object FROM (SELECT d.classid, d.objid, d.objsubid FROM {} \
         AND d.deptype OPERATOR(pg_catalog.=) 'a'::pg_catalog.\"char\" AND d.objsubid OPERATOR(pg_catalog.=) 0 AND {}) AS d, \
         LATERAL pg_catalog.pg_identify_object(d.classid, d.objid, d.objsubid) AS i WHERE i.identity IS NOT NULL",
        mentions(oid),
        classes(&["pg_largeobject", "pg_class", "pg_proc", "pg_type", "pg_namespace"])
    )
}
