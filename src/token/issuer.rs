//! Signs, by the keys in force.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use leasehold_sdk::{EngineError, JwtAlgorithm, JwtOrder, Reason, StatusSlot, Withdrawal};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::discovery::Documents;
use super::key::{KeyLine, TokenKey};
use super::purpose::Purpose;
use super::status::StatusLists;
use crate::store::Store;

/// Longest token, in bytes: it must fit into a header of every server on its way.
pub(super) const TOKEN_BYTES_MAX: usize = 6 * 1024;

/// When to ask again while there are no keys yet.
pub(super) const COME_AGAIN: Duration = Duration::from_secs(1);

/// The issuer. Without keys until its [`super::Keeper`] has brought the first.
#[derive(Default)]
pub struct Issuer {
    in_force: ArcSwapOption<InForce>,
    /// Who asserts to clouds, by the configuration in force.
    pub(super) cloud: ArcSwapOption<String>,
    pub(super) lists: StatusLists,
    /// Where ends are recorded, from when there is a broker.
    pub(super) store: OnceLock<Arc<dyn Store>>,
}

/// What holds until the keeper brings something newer.
pub(super) struct InForce {
    pub(super) issuer: String,
    pub(super) cluster: String,
    pub(super) signing: BTreeMap<Purpose, Arc<TokenKey>>,
    pub(super) published: Keys,
    pub(super) documents: Documents,
    /// How long verifiers may keep them.
    pub(super) keys_fresh: Duration,
    pub(super) lines: Vec<KeyLine>,
}

/// All keys that somebody is told of.
#[derive(Default)]
pub(super) struct Keys {
    /// Whose signatures verifiers of workloads' tokens take.
    pub(super) tokens: Vec<Arc<TokenKey>>,
    /// Whose signatures clouds take.
    pub(super) clouds: Vec<Arc<TokenKey>>,
}

impl Keys {
    pub(super) fn add(&mut self, key: Arc<TokenKey>) {
        if key.purpose.is_for_clouds() { self.clouds.push(key) } else { self.tokens.push(key) }
    }
}

impl Issuer {
    pub(super) fn put(&self, in_force: InForce) {
        self.in_force.store(Some(Arc::new(in_force)));
    }

    pub(super) fn in_force(&self) -> Option<Arc<InForce>> {
        self.in_force.load_full()
    }

    /// A key that was opened already. A row that somebody copied to another purpose is none: it does not open there.
    pub(super) fn key_sealed_as(&self, purpose: Purpose, sealed: &str) -> Option<Arc<TokenKey>> {
        let published = &self.in_force.load_full()?.published;
        let mut all = published.tokens.iter().chain(&published.clouds);
        all.find(|key| key.purpose == purpose && key.sealed_as == sealed).cloned()
    }

    /// What verifiers are told; `None`: there is no key yet.
    pub fn documents(&self) -> Option<Documents> {
        self.in_force.load_full().map(|in_force| in_force.documents.clone())
    }

    pub(super) fn attach(&self, store: Arc<dyn Store>) {
        // Whoever is first stays: a process has one store.
        let _ = self.store.set(store);
    }

    /// A place in a status list that no other token has.
    ///
    /// # Errors
    /// [`EngineError::Retry`] when no list could be recorded yet.
    pub fn slot(&self) -> Result<StatusSlot, EngineError> {
        self.lists.slot().ok_or_else(|| EngineError::Retry {
            why: Reason::new("no status list could be recorded in the store yet"),
            after: Some(COME_AGAIN),
        })
    }

    /// A status list as a signed token; `None`: there is no such list, or no key.
    pub(super) fn status_list(&self, list: &str) -> Option<Arc<str>> {
        let in_force = self.in_force.load_full()?;
        let key = in_force.signing.get(&Purpose::Tokens(JwtAlgorithm::Es256))?;
        match self.lists.document(&in_force.issuer, list, key)? {
            Ok(document) => Some(document),
            Err(error) => {
                tracing::error!(%error, "a status list could not be signed");
                None
            }
        }
    }

    /// The addresses of all status lists (Token Status List section 9).
    pub(super) fn status_lists(&self) -> Option<Vec<String>> {
        let issuer = self.in_force.load_full()?.issuer.clone();
        Some(self.lists.names().into_iter().map(|name| format!("{issuer}/oauth2/status/{name}")).collect())
    }

    /// The keys, for people.
    pub fn keys(&self) -> Vec<KeyLine> {
        self.in_force.load_full().map_or_else(Vec::new, |in_force| in_force.lines.clone())
    }

    /// Signs a workload's token.
    ///
    /// # Errors
    /// [`EngineError::Retry`] when there is no key at the moment, [`EngineError::Refused`] when it would be too large.
    pub async fn sign_jwt(&self, order: JwtOrder) -> Result<SecretString, EngineError> {
        let JwtOrder { algorithm, typ, mut claims, slot } = order;
        let in_force = self.in_force.load_full();
        let key = in_force.as_ref().and_then(|in_force| in_force.signing.get(&Purpose::Tokens(algorithm)).cloned());
        let Some((in_force, key)) = in_force.zip(key) else {
            let why = format!("there is no {} key to sign with at the moment", algorithm.as_str());
            return Err(EngineError::Retry { why: Reason::new(why), after: Some(COME_AGAIN) });
        };
        claims.insert("iss".to_owned(), Value::String(in_force.issuer.clone()));
        if let Some(StatusSlot { list, index }) = slot {
            let uri = format!("{}/oauth2/status/{list}", in_force.issuer);
            claims.insert("status".to_owned(), json!({ "status_list": { "idx": index, "uri": uri } }));
        }
        let signed = match algorithm {
            // A millisecond and more, which every other task of this thread would wait for.
            JwtAlgorithm::Rs256 => spawn_blocking(move || key.sign(typ, &claims))
                .await
                .map_err(|_| EngineError::unknown("the signing task failed; the log has more"))?,
            JwtAlgorithm::Es256 | JwtAlgorithm::EdDsa => key.sign(typ, &claims),
        };
        let token = signed.map_err(|e| EngineError::refused(e.to_string()))?;
        let length = token.expose_secret().len();
        if length > TOKEN_BYTES_MAX {
            let why = format!(
                "the token would be {length} bytes long, {TOKEN_BYTES_MAX} is the most: ask for fewer scopes, or shorten the role's claims"
            );
            return Err(EngineError::refused(why));
        }
        Ok(token)
    }

    /// Tells verifiers that look at status lists that these have ended.
    ///
    /// # Errors
    /// [`EngineError::Retry`] when it cannot be kept at the moment.
    pub async fn withdraw(&self, ended: &[Withdrawal]) -> Result<(), EngineError> {
        let store = self.store.get().ok_or_else(|| EngineError::retry("there is no store yet"))?;
        self.lists.withdraw(&**store, ended).await.map_err(|e| EngineError::retry(e.to_string()))
    }
}
