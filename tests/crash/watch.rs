//! Those who look for what must not be, all the time: a burglar with every credential that has ended, and a warden who looks for
//! sessions of the dead.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use leasehold_sdk::clock;
use leasehold_testkit::{Session, is_refused};
use secrecy::ExposeSecret;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::ledger::Given;
use super::world::{Scene, Tally};

/// How long a session may outlive its lease while broker and target are up.
const SESSION_MAX: Duration = Duration::from_secs(5);

pub fn begin(scene: &Arc<Scene>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(burglar(scene.clone()));
    tasks.spawn(warden(scene.clone()));
    tasks
}

/// Tries every credential once its end has come, until it is refused.
async fn burglar(scene: Arc<Scene>) {
    let mut refused = BTreeSet::new();
    loop {
        let ended = scene.ledger.ended().into_iter().filter(|given| !refused.contains(&given.id));
        for given in ended.collect::<Vec<_>>() {
            let until = given.worst_case_until;
            // In a target that was set back, what was ended is there again until it is found; its own end still holds.
            if clock::wall() <= until && *scene.set_back.borrow() {
                continue;
            }
            Tally::count(&scene.tally.tried);
            let login = scene.target.login(&given.username, given.password.expose_secret());
            match Session::open(&login).await {
                Ok(_) if clock::wall() <= until && *scene.set_back.borrow() => {}
                Ok(_) => note(&scene, &given),
                // Unless the server is away, or just comes up: then later.
                Err(error) => {
                    if is_refused(Some(error)) {
                        refused.insert(given.id);
                    }
                }
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
}

fn note(scene: &Scene, given: &Given) {
    let Given { id, username, worst_case_until, dead_since, .. } = given;
    let what =
        format!("{id} {username}: until {worst_case_until}, dead since {dead_since:?}, let in at {}", clock::wall());
    scene.tally.let_in.lock().unwrap_or_else(PoisonError::into_inner).push(what);
}

/// Looks into the target while nothing is wrong.
async fn warden(scene: Arc<Scene>) {
    loop {
        sleep(Duration::from_millis(500)).await;
        if scene.calm_for() <= SESSION_MAX {
            continue;
        }
        let Ok(sessions) = sessions(&scene).await else { continue };
        let ended: BTreeMap<String, Given> =
            scene.ledger.ended().into_iter().map(|given| (given.username.clone(), given)).collect();
        Tally::count(&scene.tally.looked);
        for given in sessions.iter().filter_map(|name| ended.get(name)) {
            let end = given.dead_since.unwrap_or(given.worst_case_until).min(given.worst_case_until);
            if clock::wall().since(end) > SESSION_MAX && scene.calm_for() > SESSION_MAX {
                let what = format!("{} {}: ended {end}, seen {}", given.id, given.username, clock::wall());
                scene.tally.too_long.lock().unwrap_or_else(PoisonError::into_inner).insert(what);
            }
        }
    }
}

/// Accounts of the brokers that have an open session.
pub async fn sessions(scene: &Scene) -> Result<BTreeSet<String>, sqlx::Error> {
    let mut superuser = scene.target.superuser().await?;
    let names = "SELECT usename::text FROM pg_catalog.pg_stat_activity WHERE usename ~ $1";
    let names: Vec<String> = sqlx::query_scalar(names)
        .bind(format!("^lh_{}_", scene.stage.cluster))
        .fetch_all(superuser.connection())
        .await?;
    Ok(names.into_iter().collect())
}

/// Accounts of the brokers that exist.
pub async fn accounts(scene: &Scene) -> Result<BTreeSet<String>, sqlx::Error> {
    let mut superuser = scene.target.superuser().await?;
    let names = "SELECT rolname::text FROM pg_catalog.pg_roles WHERE rolname ~ $1";
    let names: Vec<String> = sqlx::query_scalar(names)
        .bind(format!("^lh_{}_[a-z0-9]{{4}}_[a-z0-9]{{26}}$", scene.stage.cluster))
        .fetch_all(superuser.connection())
        .await?;
    Ok(names.into_iter().collect())
}
