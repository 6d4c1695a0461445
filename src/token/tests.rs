//! The suite that every engine runs, on the issuer as it is: a store, sealed keys, status lists.

mod cloud;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use leasehold_sdk::conformance::{Probe, Subject, run};
use leasehold_sdk::{
    AccountName, CloudAssertion, Credential, Engine, EngineError, EngineKind, Host, JwtAlgorithm, JwtOrder, Mark,
    RoleContext, RoleSettings, StatusSlot, SvidSigner, TargetContext, Timestamp, Withdrawal, clock,
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

    fn cloud_issuer(&self) -> Option<String> {
        self.issuer.cloud_issuer()
    }

    async fn assert(&self, assertion: CloudAssertion) -> Result<SecretString, EngineError> {
        self.issuer.assert(assertion).await
    }

    fn svid(&self) -> Result<Arc<dyn SvidSigner>, EngineError> {
        Err(EngineError::retry("there is none in these tests"))
    }
}

/// An issuer with its keeper, on a store of its own.
struct House {
    issuer: Arc<Issuer>,
    keeper: Keeper,
    store: Arc<Sqlite>,
    _dir: tempfile::TempDir,
}

impl House {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let opener = Opener { cluster: "test".parse().unwrap(), broker: "b1".to_owned() };
        let (path, limits) = (dir.path().join("store.db"), Limits::default());
        let store = Arc::new(Sqlite::open(&path, &opener, &limits, Arc::default()).await.unwrap());
        let source = KeySource::File(dir.path().join("seal.key"));
        source.make_if_missing().unwrap();
        let ring = Arc::new(KeyRing::read(&source, &[]).unwrap());
        let issuer = Arc::new(Issuer::default());
        let keeper = Keeper::new(issuer.clone(), store.clone(), ring, "test".to_owned());
        Self { issuer, keeper, store, _dir: dir }
    }

    /// One look with keys for these. Answers what was made.
    async fn look(&self, wanted: &[Purpose], now: Timestamp) -> Vec<(Purpose, u64)> {
        let addresses = Addresses { api_url: "https://api.test".to_owned() };
        let config = config();
        self.issuer.follow(Some(&config));
        self.keeper.look(&config, &addresses, &wanted.iter().copied().collect(), now).await.unwrap()
    }
}

fn config() -> TokenConfig {
    TokenConfig {
        issuer: "https://issuer.test".to_owned(),
        publish_before: Duration::from_secs(60),
        rotate_every: Duration::from_secs(3600),
    }
}

struct Bed {
    engine: Arc<dyn Engine>,
    notes: Arc<Notes>,
    mark: Mark,
    slots: Mutex<BTreeMap<String, StatusSlot>>,
    _house: House,
}

impl Bed {
    async fn new() -> Self {
        let house = House::new().await;
        assert_eq!(house.look(&Purpose::ALL, clock::wall()).await.len(), Purpose::ALL.len());
        let notes = Arc::new(Notes { issuer: house.issuer.clone(), signed: Mutex::default() });
        let context = TargetContext {
            target: "payments".to_owned(),
            cluster: "test".parse().unwrap(),
            instance: "i1".to_owned(),
            base_dir: PathBuf::new(),
        };
        let settings = json!({ "audience": "https://payments.test" }).as_object().cloned().unwrap();
        let engine = leasehold_token::Token::new(notes.clone()).target(context, settings).unwrap();
        let mark = Mark { cluster: "test".parse().unwrap(), tag: "abcd".parse().unwrap() };
        Self { engine, notes, mark, slots: Mutex::default(), _house: house }
    }

    fn is_withdrawn(&self, account: &AccountName) -> bool {
        let slot = self.slots.lock().unwrap().get(&account.to_string()).cloned().expect("a place for each account");
        let list = self.notes.issuer.status_list(&slot.list).expect("the list is there");
        status::set_in(&list).contains(&slot.index)
    }

    fn role(&self, settings: serde_json::Value) -> RoleSettings {
        let context = RoleContext::of_an_hour("conformance", vec!["tenant".into()]);
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

/// What somebody makes who knows all that is published, and holds one good token.
#[tokio::test]
async fn nothing_but_a_token_of_ours_is_read_as_one() {
    let bed = Bed::new().await;
    let issuer = &bed.notes.issuer;
    let order = |claims: serde_json::Value, typ| JwtOrder {
        algorithm: JwtAlgorithm::Es256,
        typ,
        claims: claims.as_object().cloned().unwrap(),
        slot: None,
    };
    let account = AccountName::new("test".parse().unwrap(), "abcd".parse().unwrap(), leasehold_sdk::LeaseId::new());
    let claims = json!({
        "aud": "https://payments.test", "sub": "spiffe://d/a", "client_id": "spiffe://d/a", "scope": "a",
        "jti": account.to_string(), "iat": 1, "exp": 4_000_000_000_u64,
    });
    let good = issuer.sign_jwt(order(claims.clone(), "at+jwt")).await.unwrap();
    let good = good.expose_secret();
    assert_eq!(issuer.read(good).unwrap().account, account);

    let parts: Vec<&str> = good.split('.').collect();
    let encode = |value: serde_json::Value| data_encoding::BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let kid = issuer.keys().into_iter().find(|key| key.purpose == Purpose::Tokens(JwtAlgorithm::Es256)).unwrap().kid;
    let header = |alg: &str, kid: &str| encode(json!({ "typ": "at+jwt", "alg": alg, "kid": kid }));
    let eddsa = issuer.keys().into_iter().find(|key| key.purpose == Purpose::Tokens(JwtAlgorithm::EdDsa)).unwrap().kid;
    // The public key as the secret of a symmetric algorithm.
    let published = issuer.published("/oauth2/jwks").unwrap().body.to_string();
    let hmac = jsonwebtoken::EncodingKey::from_secret(published.as_bytes());
    let confused = jsonwebtoken::Header {
        typ: Some("at+jwt".into()),
        kid: Some(kid.clone()),
        ..jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256)
    };
    let mut with_issuer = claims.clone();
    with_issuer["iss"] = "https://issuer.test".into();
    let mut more = with_issuer.clone();
    more["scope"] = "a b".into();
    let list = issuer.slot().unwrap().list;
    for (what, token) in [
        ("another signature", format!("{}.{}.{}", parts[0], parts[1], "A".repeat(86))),
        ("other claims", format!("{}.{}.{}", parts[0], encode(more), parts[2])),
        ("no algorithm", format!("{}.{}.", header("none", &kid), parts[1])),
        ("another algorithm", format!("{}.{}.{}", header("EdDSA", &kid), parts[1], parts[2])),
        ("another key", format!("{}.{}.{}", header("ES256", &eddsa), parts[1], parts[2])),
        ("no such key", format!("{}.{}.{}", header("ES256", "../../keys"), parts[1], parts[2])),
        ("the key as a secret", jsonwebtoken::encode(&confused, &with_issuer, &hmac).unwrap()),
        ("a status list", issuer.status_list(&list).unwrap().to_string()),
        ("another type", issuer.sign_jwt(order(claims, "jwt")).await.unwrap().expose_secret().to_owned()),
        ("too long", format!("{good}{}", "A".repeat(8192))),
        ("nothing", String::new()),
    ] {
        assert_eq!(issuer.read(&token), None, "{what}");
    }
}
