//! The suite that every engine runs, on the issuer as it is: a store, sealed keys, status lists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use leasehold_sdk::conformance::{Probe, Subject, run};
use leasehold_sdk::{
    AccountName, Credential, Engine, EngineError, EngineKind, Host, JwtAlgorithm, JwtOrder, Mark, RoleContext,
    RoleSettings, StatusSlot, TargetContext, Withdrawal, clock,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::*;
use crate::limits::Limits;
use crate::seal::{KeyRing, KeySource};
use crate::store::Opener;
use crate::store::sqlite::Sqlite;

/// Notes what was signed: a token is nowhere but with its holder.
struct Notes {
    issuer: Arc<Issuer>,
    signed: Mutex<BTreeSet<String>>,
}

#[async_trait]
impl Host for Notes {
    async fn sign_jwt(&self, order: JwtOrder) -> Result<SecretString, EngineError> {
        let name = order.claims["jti"].as_str().unwrap().to_owned();
        let token = self.issuer.sign_jwt(order).await?;
        self.signed.lock().unwrap().insert(name);
        Ok(token)
    }

    async fn withdraw(&self, ended: &[Withdrawal]) -> Result<(), EngineError> {
        self.issuer.withdraw(ended).await
    }
}

struct Bed {
    engine: Arc<dyn Engine>,
    notes: Arc<Notes>,
    mark: Mark,
    slots: Mutex<BTreeMap<String, StatusSlot>>,
    _dir: tempfile::TempDir,
}

impl Bed {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let opener = Opener { cluster: "test".parse().unwrap(), broker: "b1".to_owned() };
        let (path, limits) = (dir.path().join("store.db"), Limits::default());
        let store = Arc::new(Sqlite::open(&path, &opener, &limits, Arc::default()).await.unwrap());
        let source = KeySource::File(dir.path().join("seal.key"));
        source.make_if_missing().unwrap();
        let ring = Arc::new(KeyRing::read(&source, &[]).unwrap());
        let issuer = Arc::new(Issuer::default());
        let keeper = Keeper::new(issuer.clone(), store, ring, "test".to_owned());
        let config = TokenConfig {
            issuer: "https://issuer.test".to_owned(),
            publish_before: Duration::from_secs(60),
            rotate_every: Duration::from_secs(3600),
        };
        let addresses = Addresses { api_url: "https://api.test".to_owned() };
        let made = keeper.look(&config, &addresses, &JwtAlgorithm::ALL.into(), clock::wall()).await.unwrap();
        assert_eq!(made.len(), JwtAlgorithm::ALL.len());
        let notes = Arc::new(Notes { issuer, signed: Mutex::default() });
        let context = TargetContext {
            target: "payments".to_owned(),
            cluster: "test".parse().unwrap(),
            instance: "i1".to_owned(),
            base_dir: PathBuf::new(),
        };
        let settings = json!({ "audience": "https://payments.test" }).as_object().cloned().unwrap();
        let engine = leasehold_token::Token::new(notes.clone()).target(context, settings).unwrap();
        let mark = Mark { cluster: "test".parse().unwrap(), tag: "abcd".parse().unwrap() };
        Self { engine, notes, mark, slots: Mutex::default(), _dir: dir }
    }

    fn is_withdrawn(&self, account: &AccountName) -> bool {
        let slot = self.slots.lock().unwrap().get(&account.to_string()).cloned().expect("a place for each account");
        let list = self.notes.issuer.status_list(&slot.list).expect("the list is there");
        status::set_in(&list).contains(&slot.index)
    }

    fn role(&self, settings: serde_json::Value) -> RoleSettings {
        let context = RoleContext { role: "conformance".into(), params: vec!["tenant".into()] };
        self.engine.role(&context, settings.as_object().cloned().unwrap()).unwrap()
    }
}

#[async_trait]
impl Subject for Bed {
    fn engine(&self) -> &dyn Engine {
        &*self.engine
    }

    fn mark(&self) -> &Mark {
        &self.mark
    }

    fn role(&self) -> RoleSettings {
        Bed::role(self, json!({ "scopes": ["a"] }))
    }

    // What a param becomes stands in the token alone, and is tested where tokens are read.
    fn role_with_param(&self) -> Option<RoleSettings> {
        None
    }

    async fn param(&self, _: &AccountName) -> Option<String> {
        None
    }

    fn slot(&self, account: &AccountName) -> Option<StatusSlot> {
        let slot = self.notes.issuer.slot().unwrap();
        self.slots.lock().unwrap().insert(account.to_string(), slot.clone());
        Some(slot)
    }

    fn ends_ahead(&self) -> bool {
        true
    }

    async fn login(&self, credential: &Credential) -> Result<Box<dyn Probe>, String> {
        let Credential::Token(token) = credential else { return Err("no token".into()) };
        let own = self.notes.issuer.read(token.access_token.expose_secret()).ok_or("it is none of this issuer's")?;
        if self.is_withdrawn(&own.account) {
            return Err("it was revoked".into());
        }
        let slot = self.slots.lock().unwrap()[&own.account.to_string()].clone();
        Ok(Box::new(Shown { issuer: self.notes.issuer.clone(), slot }))
    }

    async fn exists(&self, account: &AccountName) -> bool {
        self.notes.signed.lock().unwrap().contains(&account.to_string()) && !self.is_withdrawn(account)
    }
}

/// Somebody who looks at the status list again and again.
struct Shown {
    issuer: Arc<Issuer>,
    slot: StatusSlot,
}

#[async_trait]
impl Probe for Shown {
    async fn is_alive(&mut self) -> bool {
        let list = self.issuer.status_list(&self.slot.list).expect("the list is there");
        !status::set_in(&list).contains(&self.slot.index)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_engine_conforms() {
    run(&Bed::new().await).await;
}
