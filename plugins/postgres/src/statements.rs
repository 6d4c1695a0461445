//! The SQL by which accounts are made and ended, in the two ways that a target may be set up (`admin`).
//!
//! The only place that knows the difference: plain statements for a login that may create roles, or calls of the
//! SECURITY DEFINER functions that `leasehold check --install-sql` prints.

use leasehold_sdk::{EngineError, Timestamp};

use crate::config::Admin;
use crate::plan::PlanBody;
use crate::quote::{BadText, Ident, join, quote_ident, quote_literal, quote_literals};
use crate::role::Owned;
use crate::template::{Template, Values};

/// What the guard of a late mint says; the deadline stands in the error of the server, which we then recognise.
pub(crate) const TOO_LATE: &str = "the deadline of this mint has passed";

/// How we speak to one target.
#[derive(Debug, Clone)]
pub(crate) enum Statements {
    /// Plain statements.
    Plain {
        /// The cluster's group role.
        mark: Ident,
    },
    /// Functions in this schema.
    Functions {
        /// The schema.
        schema: Ident,
    },
}

/// One account to make.
pub(crate) struct NewAccount<'a> {
    pub(crate) name: &'a str,
    pub(crate) ident: &'a Ident,
    pub(crate) lock_key: i64,
    pub(crate) deadline: Timestamp,
    pub(crate) verifier: &'a str,
    pub(crate) expires_at: Timestamp,
    pub(crate) body: &'a PlanBody,
}

impl Statements {
    /// For a target's `admin` and a cluster's mark.
    pub(crate) fn new(admin: &Admin, mark: &str) -> Result<Self, BadText> {
        Ok(match admin {
            Admin::Createrole => Self::Plain { mark: quote_ident(mark)? },
            Admin::Functions { schema } => Self::Functions { schema: quote_ident(schema)? },
        })
    }

    /// One message that makes all these accounts or none, and none after the earliest deadline. Its last rows have the
    /// columns `account` and `oid`.
    pub(crate) fn mint(&self, accounts: &[NewAccount<'_>]) -> Result<String, EngineError> {
        let mut sql = String::new();
        match self {
            Self::Plain { mark } => {
                sql.push_str(&guard(accounts)?);
                for a in accounts {
                    sql.push_str(&create(mark, a)?);
                    sql.push_str(&own_statements(a)?);
                }
                sql.push_str(&receipts(accounts)?);
            }
            Self::Functions { schema } => {
                for a in accounts {
                    sql.push_str(&call_mint(schema, a)?);
                    sql.push_str(&own_statements(a)?);
                }
            }
        }
        Ok(sql)
    }

    /// Moves an account's expiry.
    pub(crate) fn renew(&self, ident: &Ident, name: &str, until: Timestamp) -> Result<String, BadText> {
        let until = quote_literal(&until.to_string())?;
        Ok(match self {
            Self::Plain { .. } => format!("ALTER ROLE {ident} VALID UNTIL {until};"),
            Self::Functions { schema } => {
                let name = quote_literal(name)?;
                format!("SELECT {schema}.renew({name}::pg_catalog.text, {until}::pg_catalog.timestamptz);")
            }
        })
    }

    /// Stops new logins of these accounts.
    pub(crate) fn fence(&self, accounts: &[(&Ident, &str)]) -> Result<String, BadText> {
        Ok(match self {
            Self::Plain { .. } => accounts.iter().map(|(ident, _)| format!("ALTER ROLE {ident} NOLOGIN;")).collect(),
            Self::Functions { schema } => format!("SELECT {schema}.fence({});", names(accounts)?),
        })
    }

    /// Ends these sessions; says how many.
    pub(crate) fn terminate(&self, whose: &Whose<'_>) -> Result<String, BadText> {
        Ok(match self {
            Self::Plain { .. } => format!(
                "SELECT pg_catalog.count(pg_catalog.pg_terminate_backend(a.pid)) FROM pg_catalog.pg_stat_activity AS a \
                 WHERE {} AND a.pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid();",
                whose.filter()?
            ),
            Self::Functions { schema } => {
                let names = quote_literals(&whose.names)?;
                format!("SELECT {schema}.terminate(ARRAY[{names}]::pg_catalog.text[], {});", oid_array(&whose.gone))
            }
        })
    }

    /// Ends the sessions of others that lock something of an account, for which our session `waiter` waits: not a
    /// superuser's, and not our own.
    pub(crate) fn evict(&self, account: &str, waiter: i32) -> Result<String, BadText> {
        Ok(match self {
            Self::Plain { .. } => format!(
                "SELECT pg_catalog.count(pg_catalog.pg_terminate_backend(a.pid)) FROM pg_catalog.pg_stat_activity AS a \
                 JOIN pg_catalog.pg_roles AS r ON r.oid OPERATOR(pg_catalog.=) a.usesysid \
                 WHERE a.pid OPERATOR(pg_catalog.=) ANY (pg_catalog.pg_blocking_pids({waiter})) \
                 AND NOT r.rolsuper AND r.rolname OPERATOR(pg_catalog.<>) SESSION_USER;"
            ),
            Self::Functions { schema } => {
                format!("SELECT {schema}.evict({}::pg_catalog.text);", quote_literal(account)?)
            }
        })
    }

    /// Touches all that [`Self::terminate`] and [`Self::evict`] touch, and ends nothing: `nobody` is no role.
    pub(crate) fn touch(&self, nobody: &str) -> Result<String, BadText> {
        let whose = Whose { names: vec![nobody], gone: vec![0] };
        // The server looks into the memberships itself before it lets us end a session; only the lock of a query lasts.
        Ok(format!(
            "{}{}SELECT pg_catalog.pg_has_role(r.oid, 'USAGE') FROM pg_catalog.pg_roles AS r, pg_catalog.pg_auth_members AS m, \
             pg_catalog.pg_database AS d WHERE r.oid OPERATOR(pg_catalog.=) 0::pg_catalog.oid \
             AND m.member OPERATOR(pg_catalog.=) r.oid AND d.datdba OPERATOR(pg_catalog.=) r.oid;",
            self.terminate(&whose)?,
            self.evict(nobody, 0)?
        ))
    }

    /// Ends the sessions that hold or await the lock of a mint, in the present database.
    pub(crate) fn unlock(&self, lock_key: i64) -> String {
        let (high, low) = ((lock_key >> 32) as u32, lock_key as u32);
        match self {
            Self::Plain { .. } => format!(
                "SELECT pg_catalog.count(pg_catalog.pg_terminate_backend(l.pid)) FROM pg_catalog.pg_locks AS l \
                 WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' \
                 AND l.classid OPERATOR(pg_catalog.=) {high}::pg_catalog.oid \
                 AND l.objid OPERATOR(pg_catalog.=) {low}::pg_catalog.oid \
                 AND l.objsubid OPERATOR(pg_catalog.=) 1::pg_catalog.int2 \
                 AND l.database OPERATOR(pg_catalog.=) (SELECT d.oid FROM pg_catalog.pg_database AS d \
                 WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) \
                 AND l.pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()"
            ),
            Self::Functions { schema } => format!("SELECT {schema}.unlock('{lock_key}'::pg_catalog.int8)"),
        }
    }

    /// Makes our login able to act for an account. From 16 on the creator of a role does not inherit its rights unless it
    /// says so. Functions act for themselves, except to end prepared transactions, which takes being their owner.
    pub(crate) fn adopt(&self, ident: &Ident, name: &str, user: &Ident, major: u32) -> Result<String, BadText> {
        Ok(match self {
            Self::Plain { .. } if major >= 16 => format!("GRANT {ident} TO {user} WITH INHERIT TRUE, SET TRUE;"),
            Self::Plain { .. } => format!("GRANT {ident} TO {user};"),
            Self::Functions { schema } => format!("SELECT {schema}.borrow({}::pg_catalog.text);", quote_literal(name)?),
        })
    }

    /// Hands over or drops what an account has in the present database.
    pub(crate) fn disown(&self, account: &Belongings<'_>) -> Result<String, BadText> {
        let Belongings { ident, name, receiver, receiver_name, owned, join, lend } = account;
        Ok(match self {
            Self::Plain { .. } if *owned == Owned::Drop => format!("DROP OWNED BY {ident};"),
            Self::Plain { .. } => {
                let reassign = format!("REASSIGN OWNED BY {ident} TO {receiver};");
                format!("{}DROP OWNED BY {ident};", lent(&reassign, ident, receiver, join.as_ref(), *lend))
            }
            Self::Functions { schema } => {
                let to = receiver_name.map(quote_literal).transpose()?.map_or("NULL".to_owned(), |l| l.to_string());
                let name = quote_literal(name)?;
                let drop = *owned == Owned::Drop;
                format!("SELECT {schema}.disown({name}::pg_catalog.text, {to}::pg_catalog.text, {drop});")
            }
        })
    }

    /// With functions: hands over, or drops, at most so many objects in the present database. Its row says how many, as
    /// `moved`.
    pub(crate) fn hand_over_some(
        &self,
        name: &str,
        to: Option<&str>,
        drop: bool,
        most: usize,
    ) -> Result<String, BadText> {
        let Self::Functions { schema } = self else { return Ok(String::new()) };
        let to = to.map(quote_literal).transpose()?.map_or("NULL".to_owned(), |l| l.to_string());
        let name = quote_literal(name)?;
        Ok(format!(
            "SELECT {schema}.hand_over_some({name}::pg_catalog.text, {to}::pg_catalog.text, {drop}, {most}) AS moved;"
        ))
    }

    /// Drops accounts, all or none.
    pub(crate) fn drop(&self, accounts: &[(&Ident, &str)]) -> Result<String, BadText> {
        Ok(match self {
            Self::Plain { .. } => format!("DROP ROLE {};", join(accounts.iter().map(|(ident, _)| *ident))),
            Self::Functions { schema } => format!("SELECT {schema}.drop_accounts({});", names(accounts)?),
        })
    }
}

/// What an account has in one database, and who gets it.
pub(crate) struct Belongings<'a> {
    pub(crate) ident: &'a Ident,
    pub(crate) name: &'a str,
    pub(crate) receiver: &'a Ident,
    /// `None`: the estate role.
    pub(crate) receiver_name: Option<&'a str>,
    pub(crate) owned: Owned,
    /// Our login, when it has to have the receiver's rights meanwhile to be allowed to give it anything.
    pub(crate) join: Option<Ident>,
    /// Whether to lend the receiver the account's rights meanwhile: in a schema it may only be given what it may create
    /// there, and the account could.
    pub(crate) lend: bool,
}

/// Whose sessions: accounts by name, and by OID what was an account. A name says who it is as long as there is a role of
/// that name; an OID only once no role has it any more.
pub(crate) struct Whose<'a> {
    pub(crate) names: Vec<&'a str>,
    pub(crate) gone: Vec<u32>,
}

impl Whose<'_> {
    pub(crate) fn is_nobody(&self) -> bool {
        self.names.is_empty() && self.gone.is_empty()
    }

    /// As a condition on `pg_stat_activity AS a`, whose `usename` is null where the role is gone.
    pub(crate) fn filter(&self) -> Result<String, BadText> {
        Ok(format!(
            "(a.usename OPERATOR(pg_catalog.=) ANY (ARRAY[{}]::pg_catalog.name[]) \
             OR (a.usename IS NULL AND a.usesysid OPERATOR(pg_catalog.=) ANY ({})))",
            quote_literals(&self.names)?,
            oid_array(&self.gone)
        ))
    }
}

/// An array of OIDs.
pub(crate) fn oid_array(oids: &[u32]) -> String {
    let oids: Vec<_> = oids.iter().map(u32::to_string).collect();
    format!("'{{{}}}'::pg_catalog.oid[]", oids.join(","))
}

/// Statements that give something of an account to a receiver, with the rights for it: ours to act as the receiver (`join`
/// is our login), and the receiver's to have what the account could have (`lend`). What is granted here is taken back before
/// the transaction ends: nobody ever sees it.
pub(crate) fn lent(statements: &str, account: &Ident, receiver: &Ident, join: Option<&Ident>, lend: bool) -> String {
    let grants = join.map(|us| (receiver, us)).into_iter().chain(lend.then_some((account, receiver)));
    let (mut before, mut after) = (String::new(), String::new());
    for (role, to) in grants {
        before.push_str(&format!("GRANT {role} TO {to};"));
        after.push_str(&format!("REVOKE {role} FROM {to};"));
    }
    format!("{before}{statements}{after}")
}

fn names(accounts: &[(&Ident, &str)]) -> Result<String, BadText> {
    let names: Vec<_> = accounts.iter().map(|(_, name)| *name).collect();
    Ok(format!("ARRAY[{}]::pg_catalog.text[]", quote_literals(&names)?))
}

/// Law 3: a mint and the look of a revocation meet on a lock that lasts as long as the transaction, and past its deadline,
/// by the server's own clock, a mint makes nothing. So what is not there then can never come to be.
fn guard(accounts: &[NewAccount<'_>]) -> Result<String, BadText> {
    let lock = |a: &NewAccount<'_>| format!("pg_catalog.pg_advisory_xact_lock('{}'::pg_catalog.int8)", a.lock_key);
    let locks: Vec<_> = accounts.iter().map(lock).collect();
    let earliest = accounts.iter().map(|a| a.deadline).min().unwrap_or(Timestamp::from_unix_ms(0));
    let earliest = quote_literal(&earliest.to_string())?;
    Ok(format!(
        "SELECT {};SELECT CASE WHEN pg_catalog.clock_timestamp() OPERATOR(pg_catalog.<) {earliest}::pg_catalog.timestamptz THEN 0 \
         ELSE pg_catalog.concat('{TOO_LATE}: ', pg_catalog.clock_timestamp())::pg_catalog.int4 END;",
        locks.join(",")
    ))
}

fn create(mark: &Ident, a: &NewAccount<'_>) -> Result<String, BadText> {
    let (ident, limit) = (a.ident, a.body.connection_limit);
    let (verifier, until) = (quote_literal(a.verifier)?, quote_literal(&a.expires_at.to_string())?);
    let mut groups = vec![mark.clone()];
    for g in &a.body.groups {
        groups.push(quote_ident(g)?);
    }
    let mut sql = format!(
        "CREATE ROLE {ident} LOGIN PASSWORD {verifier} VALID UNTIL {until} CONNECTION LIMIT {limit} IN ROLE {};",
        join(&groups)
    );
    if !a.body.search_path.is_empty() {
        let path = quote_literals(&a.body.search_path)?;
        sql.push_str(&format!("ALTER ROLE {ident} SET search_path = {path};"));
    }
    for (name, value) in a.body.settings.iter().chain(a.body.set_role.as_ref().map(|r| (&*ROLE, r))) {
        sql.push_str(&format!("ALTER ROLE {ident} SET {} = {};", quote_ident(name)?, quote_literal(value)?));
    }
    Ok(sql)
}

static ROLE: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| "role".to_owned());

fn own_statements(a: &NewAccount<'_>) -> Result<String, EngineError> {
    let expires_at = a.expires_at.to_string();
    let values = Values { name: a.ident, verifier: a.verifier, expires_at: &expires_at, params: &a.body.params };
    render(&a.body.creation_statements, true, &values)
}

/// The role's own statements with their values.
///
/// # Errors
/// [`EngineError::Refused`] when one of them is not as a checked configuration has it.
pub(crate) fn render(texts: &[String], minting: bool, values: &Values<'_>) -> Result<String, EngineError> {
    let mut sql = String::new();
    for text in texts {
        let template = Template::parse(text, minting, |_| true).map_err(EngineError::refused)?;
        sql.push_str(&template.render(values)?);
        // A comment at its end must not swallow what follows.
        sql.push_str("\n;");
    }
    Ok(sql)
}

/// Without a table: to plan a look into `pg_roles` costs the server more than a CREATE with a cheap verifier.
fn receipts(accounts: &[NewAccount<'_>]) -> Result<String, BadText> {
    let names: Vec<_> = accounts.iter().map(|a| a.name).collect();
    Ok(format!(
        "SELECT a.name AS account, \
         pg_catalog.to_regrole(pg_catalog.quote_ident(a.name))::pg_catalog.oid::pg_catalog.int8 AS oid \
         FROM pg_catalog.unnest(ARRAY[{}]::pg_catalog.text[]) AS a (name);",
        quote_literals(&names)?
    ))
}

fn call_mint(schema: &Ident, a: &NewAccount<'_>) -> Result<String, BadText> {
    let mut settings: Vec<String> = a.body.settings.iter().map(|(k, v)| format!("{k}={v}")).collect();
    settings.extend(a.body.set_role.iter().map(|r| format!("role={r}")));
    // One entry for each schema, in their order.
    settings.extend(a.body.search_path.iter().map(|s| format!("search_path={s}")));
    let name = quote_literal(a.name)?;
    Ok(format!(
        "SELECT {name}::pg_catalog.text AS account, {schema}.mint({name}::pg_catalog.text, {}::pg_catalog.int8, \
         {}::pg_catalog.timestamptz, {}::pg_catalog.text, {}::pg_catalog.timestamptz, {}::pg_catalog.int4, \
         ARRAY[{}]::pg_catalog.text[], ARRAY[{}]::pg_catalog.text[])::pg_catalog.int8 AS oid;",
        a.lock_key,
        quote_literal(&a.deadline.to_string())?,
        quote_literal(a.verifier)?,
        quote_literal(&a.expires_at.to_string())?,
        a.body.connection_limit,
        quote_literals(&a.body.groups)?,
        quote_literals(&settings)?,
    ))
}
