//! Services and an operator, who ask whatever happens.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use leasehold_client::wire::{MintRequest, ReconcileRequest, RenewRequest, RevokeManyRequest, Selector};
use leasehold_client::{Client, ClientError};
use leasehold_sdk::clock;
use leasehold_testkit::{Session, Svid};
use secrecy::ExposeSecret;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::dice::Dice;
use super::world::{DOOMED, Scene, Tally};
use crate::ground::{Held, client_with, for_ttl, mint_of};
use crate::stage::{BILLING, OPERATOR, ROLE};

const SERVICES: usize = 6;

/// Whoever is not answered by then asks somebody else.
const PATIENCE: Duration = Duration::from_secs(10);

/// Lives that end within the test, by themselves.
const SHORT: [&str; 3] = ["1s", "2s", "4s"];

/// Lives that end long after it, however long it takes.
const LONG: &str = "6h";

/// Long-lived credentials and open sessions that one service keeps.
const KEPT_MAX: usize = 8;

/// Puts load on the brokers.
pub fn begin(scene: &Arc<Scene>, dice: &Dice) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let (billing, ops) = (scene.stage.svid(BILLING), scene.stage.svid(OPERATOR));
    let asker =
        |svid: &Svid| Asker { scene: scene.clone(), dice: dice.split(), svid: svid.clone(), clients: HashMap::new() };
    for _ in 0..SERVICES {
        tasks.spawn(Service { asker: asker(&billing), own: Vec::new(), sessions: Vec::new() }.run());
    }
    tasks.spawn(operator(asker(&ops)));
    tasks
}

/// Somebody who asks any broker that is there.
struct Asker {
    scene: Arc<Scene>,
    dice: Dice,
    svid: Svid,
    clients: HashMap<String, Client>,
}

impl Asker {
    /// What a broker answered; `None`: none did.
    async fn ask<R>(&mut self, question: impl AsyncFnOnce(Client) -> Result<R, ClientError>) -> Option<R> {
        let url = self.dice.one_of(&self.scene.doors).url();
        let Some(url) = url else {
            sleep(Duration::from_millis(20)).await;
            return None;
        };
        if !self.clients.contains_key(&url) {
            self.clients.retain(|known, _| self.scene.doors.iter().any(|door| door.url().as_ref() == Some(known)));
            self.clients.insert(url.clone(), client_with(url.clone(), self.svid.clone(), None));
        }
        match timeout(PATIENCE, question(self.clients[&url].clone())).await {
            Ok(Ok(answer)) => Some(answer),
            _ => {
                Tally::count(&self.scene.tally.refused);
                sleep(self.dice.pause(5, 50)).await;
                None
            }
        }
    }
}

struct Service {
    asker: Asker,
    /// Leases that live long, and that only this service ends.
    own: Vec<String>,
    sessions: Vec<Session>,
}

impl Service {
    async fn run(mut self) {
        while !self.asker.scene.is_stopping() {
            match self.asker.dice.throw(10) {
                0..4 => self.take_short().await,
                4..6 => drop(self.take(ROLE, for_ttl(LONG), true, false).await),
                6 => drop(self.take(DOOMED, for_ttl(LONG), true, true).await),
                7 => self.renew().await,
                8 => self.replace().await,
                _ => self.revoke().await,
            }
        }
    }

    async fn take(&mut self, role: &str, ask: MintRequest, long: bool, doomed: bool) -> Option<Held> {
        if long && !doomed && self.own.len() >= KEPT_MAX {
            self.revoke().await;
            return None;
        }
        let held = self.asker.ask(async |client| mint_of(&client, role, &ask).await).await?;
        let scene = &self.asker.scene;
        Tally::count(&scene.tally.minted);
        scene.ledger.note(&held, long);
        if doomed {
            scene.ledger.doom(&held.lease.id);
        }
        if long && !doomed {
            self.own.push(held.lease.id.clone());
        }
        if self.asker.dice.throw(3) == 0 {
            self.work_with(&held).await;
        }
        Some(held)
    }

    /// Logs in, and stays.
    async fn work_with(&mut self, held: &Held) {
        let login = self.asker.scene.target.login(&held.login.username, held.login.password.expose_secret());
        if let Ok(session) = Session::open(&login).await {
            self.sessions.push(session);
        }
        if self.sessions.len() > KEPT_MAX {
            self.sessions.remove(0);
        }
    }

    async fn take_short(&mut self) {
        let ttl = *self.asker.dice.one_of(&SHORT);
        let Some(held) = self.take(ROLE, for_ttl(ttl), false, false).await else { return };
        if self.asker.dice.throw(3) == 0 {
            self.renew_for(&held.lease.id, "2s", Duration::from_secs(2)).await;
        }
    }

    async fn renew(&mut self) {
        let Some(id) = self.any_own() else { return };
        self.renew_for(&id, "7h", Duration::from_secs(7 * 3600)).await;
    }

    async fn renew_for(&mut self, id: &str, ttl: &str, by: Duration) {
        self.asker.scene.ledger.may_be_renewed(id, clock::wall().plus(by + PATIENCE));
        let ask = RenewRequest { ttl: Some(ttl.to_owned()) };
        if self.asker.ask(async |client| client.renew(id, &ask).await).await.is_some() {
            Tally::count(&self.asker.scene.tally.renewed);
        }
    }

    /// A new one that takes the place of an old one, which is then given back.
    async fn replace(&mut self) {
        let Some(id) = self.any_own() else { return };
        self.asker.scene.ledger.doom(&id);
        self.own.retain(|own| *own != id);
        let ask = MintRequest { replaces: Some(id.clone()), ..for_ttl(LONG) };
        if self.take(ROLE, ask, true, false).await.is_some() {
            self.give_back(&id).await;
        }
    }

    async fn revoke(&mut self) {
        let Some(id) = self.any_own() else { return };
        self.asker.scene.ledger.doom(&id);
        self.own.retain(|own| *own != id);
        self.give_back(&id).await;
    }

    async fn give_back(&mut self, id: &str) {
        if let Some(lease) = self.asker.ask(async |client| client.revoke(id).await).await {
            Tally::count(&self.asker.scene.tally.revoked);
            if lease.is_over() {
                self.asker.scene.ledger.is_dead(&lease);
            }
        }
    }

    fn any_own(&self) -> Option<String> {
        (!self.own.is_empty()).then(|| self.asker.dice.one_of(&self.own).clone())
    }
}

/// Ends all leases of one role by order, again and again, and compares leases with accounts.
async fn operator(mut asker: Asker) {
    let order = RevokeManyRequest::of(Selector::Role(DOOMED.to_owned()));
    while !asker.scene.is_stopping() {
        if asker.ask(async |client| client.revoke_many(&order).await).await.is_some() {
            Tally::count(&asker.scene.tally.orders);
        }
        sleep(asker.dice.pause(200, 1000)).await;
        if asker.dice.throw(3) == 0 {
            asker.ask(async |client| client.reconcile(&ReconcileRequest::default()).await).await;
        }
    }
}
