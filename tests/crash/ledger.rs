//! What was handed out, as its holders know it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use leasehold_client::wire::Lease;
use leasehold_sdk::{Timestamp, clock};
use secrecy::{ExposeSecret, SecretString};

use crate::ground::Held;

/// One credential.
#[derive(Clone)]
pub struct Given {
    pub id: String,
    pub username: String,
    pub password: SecretString,
    /// Whether it outlives the test unless somebody ends it.
    pub long: bool,
    /// Nobody can log in after this, whatever happens to brokers.
    pub worst_case_until: Timestamp,
    /// When somebody was told that it is dead.
    pub dead_since: Option<Timestamp>,
}

/// All of them, by lease.
#[derive(Default)]
pub struct Ledger {
    given: Mutex<BTreeMap<String, Given>>,
    doomed: Mutex<BTreeSet<String>>,
}

impl Ledger {
    fn with<R>(&self, f: impl FnOnce(&mut BTreeMap<String, Given>) -> R) -> R {
        f(&mut self.given.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, id: &str, f: impl FnOnce(&mut Given)) {
        self.with(|all| all.get_mut(id).map(f));
    }

    pub fn note(&self, held: &Held, long: bool) {
        let given = Given {
            id: held.lease.id.clone(),
            username: held.login.username.clone(),
            password: SecretString::from(held.login.password.expose_secret().to_owned()),
            long,
            worst_case_until: worst_case(&held.lease),
            dead_since: None,
        };
        self.with(|all| all.insert(given.id.clone(), given));
    }

    /// Before a renewal is asked for: it may reach the target although its answer is lost.
    pub fn may_be_renewed(&self, id: &str, until: Timestamp) {
        self.change(id, |given| given.worst_case_until = given.worst_case_until.max(until));
    }

    /// Somebody asks for its end, or gives an order that means it, and may not hear the answer; perhaps before its holder has it.
    pub fn doom(&self, id: &str) {
        self.doomed.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned());
    }

    pub fn is_doomed(&self, id: &str) -> bool {
        self.doomed.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    pub fn is_dead(&self, lease: &Lease) {
        self.change(&lease.id, |given| given.dead_since = given.dead_since.or(Some(clock::wall())));
    }

    /// Whoever is told of an end may try it from then on.
    pub fn ended(&self) -> Vec<Given> {
        let now = clock::wall();
        let is_over = |given: &&Given| given.dead_since.is_some() || given.worst_case_until < now;
        self.with(|all| all.values().filter(is_over).cloned().collect())
    }

    pub fn all(&self) -> Vec<Given> {
        self.with(|all| all.values().cloned().collect())
    }
}

fn worst_case(lease: &Lease) -> Timestamp {
    let until = lease.worst_case_until.as_deref().expect("a database login has an end of its own");
    until.parse().expect("a time")
}
