//! Minting: one message makes one account or a batch of them, or nothing.

use std::collections::HashMap;

use leasehold_sdk::{EngineError, MintOrder, Minted, RenewOrder, random};
use secrecy::SecretString;
use sqlx::Row;

use crate::credential::credential;
use crate::engine::Target;
use crate::plan::{OidReceipt, PlanBody};
use crate::quote::{Ident, quote_ident};
use crate::scram;
use crate::session::Session;
use crate::sql_error::SqlError;
use crate::statements::{NewAccount, TOO_LATE};

/// From this count on a verifier takes long enough to be made away from the threads that serve everybody.
const ITERATIONS_INLINE_MAX: u32 = 256;

/// An order with all that its statement needs.
struct Ready {
    order: MintOrder,
    name: String,
    ident: Ident,
    body: PlanBody,
    password: SecretString,
    verifier: String,
}

/// Makes what the orders say; one answer each, in their order.
pub(crate) async fn mint(target: &Target, orders: Vec<MintOrder>) -> Vec<Result<Minted, EngineError>> {
    let count = orders.len();
    let mut answers: Vec<Option<Result<Minted, EngineError>>> = (0..count).map(|_| None).collect();
    let mut ready = Vec::with_capacity(count);
    for (slot, made) in prepare(target, orders).await.into_iter().enumerate() {
        match made {
            Ok(r) => ready.push((slot, r)),
            Err(e) => answers[slot] = Some(Err(e)),
        }
    }
    for (slot, answer) in carry_out(target, ready).await {
        answers[slot] = Some(answer);
    }
    answers.into_iter().map(|a| a.unwrap_or_else(|| Err(EngineError::unknown("the engine lost this mint")))).collect()
}

async fn prepare(target: &Target, orders: Vec<MintOrder>) -> Vec<Result<Ready, EngineError>> {
    let iterations = target.config.scram_iterations;
    let cluster = target.cluster.clone();
    let work = move || {
        let one = |order: MintOrder| {
            let body = PlanBody::of(&order.plan)?;
            let name = own_name(&order.plan.account, &cluster)?;
            let ident = quote_ident(&name)?;
            let password = random::password();
            let verifier = scram::verifier(&password, iterations);
            Ok(Ready { order, name, ident, body, password, verifier })
        };
        orders.into_iter().map(one).collect::<Vec<_>>()
    };
    if iterations.get() <= ITERATIONS_INLINE_MAX {
        return work();
    }
    // Only a panic or a runtime that shuts down ends here; nothing was sent yet.
    tokio::task::spawn_blocking(work).await.unwrap_or_default()
}

/// Law 10: only names of our own cluster.
pub(crate) fn own_name(
    account: &leasehold_sdk::AccountName,
    cluster: &leasehold_sdk::ClusterName,
) -> Result<String, EngineError> {
    if account.cluster() == cluster {
        return Ok(account.to_string());
    }
    Err(EngineError::refused(format!("{account} is of the cluster {}, we are {cluster}", account.cluster())))
}

type Answer = (usize, Result<Minted, EngineError>);

async fn carry_out(target: &Target, ready: Vec<(usize, Ready)>) -> Vec<Answer> {
    let fail =
        |ready: Vec<(usize, Ready)>, e: EngineError| ready.into_iter().map(|(s, _)| (s, Err(e.clone()))).collect();
    let mut session = match target.mint_session().await {
        Ok(s) => s,
        Err(e) => return fail(ready, e),
    };
    let (mut ready, foreign): (Vec<_>, Vec<_>) =
        ready.into_iter().partition(|(_, r)| r.order.plan.fingerprint == session.facts().fingerprint);
    let mut answers: Vec<Answer> = foreign
        .into_iter()
        .map(|(slot, r)| (slot, Err(target.foreign(&r.order.plan, &session.facts().fingerprint))))
        .collect();
    if ready.len() > 1 {
        match send(target, &mut session, &ready).await {
            Ok(oids) => {
                answers.extend(ready.into_iter().map(|(slot, r)| (slot, minted(target, r, &oids))));
                return answers;
            }
            Err(Sent::Server(SqlError::Said { .. }) | Sent::Not(_)) => {} // one of them spoiled it: each for itself
            Err(Sent::Server(lost)) => {
                answers.extend(fail(ready, lost.making("mint")));
                return answers;
            }
        }
    }
    while let Some(one) = ready.pop() {
        let slot = one.0;
        let one = [one];
        let sent = send(target, &mut session, &one).await;
        let [(_, r)] = one;
        let answer = match sent {
            Ok(oids) => minted(target, r, &oids),
            Err(Sent::Not(e)) => Err(e),
            Err(Sent::Server(e)) => Err(refusal(target, &r, e)),
        };
        let lost = matches!(answer, Err(EngineError::Unknown { .. }));
        answers.push((slot, answer));
        if lost {
            answers.extend(fail(ready, EngineError::retry("the connection was lost on another mint of the batch")));
            break;
        }
    }
    answers
}

/// Why a message brought no accounts.
enum Sent {
    /// It was not sent.
    Not(EngineError),
    /// It was.
    Server(SqlError),
}

async fn send(target: &Target, session: &mut Session, ready: &[(usize, Ready)]) -> Result<HashMap<String, u32>, Sent> {
    let accounts: Vec<_> = ready
        .iter()
        .map(|(_, r)| NewAccount {
            name: &r.name,
            ident: &r.ident,
            lock_key: r.order.plan.account.lease().lock_key(),
            deadline: r.order.deadline,
            verifier: &r.verifier,
            expires_at: r.order.expires_at,
            body: &r.body,
        })
        .collect();
    let sql = target.statements.mint(&accounts).map_err(Sent::Not)?;
    let rows = session.rows(&sql).await.map_err(Sent::Server)?;
    Ok(rows
        .iter()
        .filter_map(|row| Some((row.try_get("account").ok()?, u32::try_from(row.try_get::<i64, _>("oid").ok()?).ok()?)))
        .collect())
}

fn minted(target: &Target, r: Ready, oids: &HashMap<String, u32>) -> Result<Minted, EngineError> {
    let oid = oids.get(&r.name).copied();
    let oid =
        oid.ok_or_else(|| EngineError::unknown(format!("{} was made, but the server gave no OID for it", r.name)))?;
    let credential = credential(&target.config, &r.name, r.password, &r.body.database);
    Ok(Minted { credential, receipt: OidReceipt { oid }.into_receipt() })
}

fn refusal(target: &Target, r: &Ready, e: SqlError) -> EngineError {
    if e.text().contains(TOO_LATE) {
        return EngineError::refused(format!("{}: {TOO_LATE} by the clock of the server", r.name));
    }
    // A group that is gone may be our own mark: look for it again before the next mint.
    if e.code() == Some("42704") {
        target.forget_mark();
    }
    e.making(&r.name)
}

/// Moves expiries; one answer per order.
pub(crate) async fn renew(target: &Target, orders: &[RenewOrder]) -> Vec<Result<(), EngineError>> {
    let mut session = match target.other_session().await {
        Ok(s) => s,
        Err(e) => return orders.iter().map(|_| Err(e.clone())).collect(),
    };
    let mut answers = Vec::with_capacity(orders.len());
    for order in orders {
        answers.push(renew_one(target, &mut session, order).await);
    }
    answers
}

async fn renew_one(target: &Target, session: &mut Session, order: &RenewOrder) -> Result<(), EngineError> {
    let name = own_name(&order.plan.account, &target.cluster)?;
    if order.plan.fingerprint != session.facts().fingerprint {
        return Err(target.foreign(&order.plan, &session.facts().fingerprint));
    }
    let sql = target.statements.renew(&quote_ident(&name)?, &name, order.expires_at)?;
    session.run(&sql).await.map_err(|e| e.repeatable(&name))
}
