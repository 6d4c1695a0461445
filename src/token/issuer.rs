//! Signs, by the keys in force.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use leasehold_sdk::{
    CloudAssertion, EngineError, Host, JwtAlgorithm, JwtOrder, Reason, StatusSlot, SvidSigner, Withdrawal,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::discovery::Documents;
use super::key::{KeyLine, TokenKey};
use super::status::StatusLists;
use crate::store::Store;

/// Longest token, in bytes: it must fit into a header of every server on its way.
pub(super) const TOKEN_BYTES_MAX: usize = 6 * 1024;

/// When to ask again while there are no keys yet.
const COME_AGAIN: Duration = Duration::from_secs(1);

/// The issuer. Without keys until its [`super::Keeper`] has brought the first.
#[derive(Default)]
pub struct Issuer {
    in_force: ArcSwapOption<InForce>,
    pub(super) lists: StatusLists,
    /// Where ends are recorded, from when there is a broker.
    store: OnceLock<Arc<dyn Store>>,
}

/// What holds until the keeper brings something newer.
pub(super) struct InForce {
    pub(super) issuer: String,
    pub(super) signing: BTreeMap<JwtAlgorithm, Arc<TokenKey>>,
    /// All whose signatures verifiers take.
    pub(super) published: Vec<Arc<TokenKey>>,
    pub(super) documents: Documents,
    /// How long verifiers may keep them.
    pub(super) keys_fresh: Duration,
    pub(super) lines: Vec<KeyLine>,
}

impl Issuer {
    pub(super) fn put(&self, in_force: InForce) {
        self.in_force.store(Some(Arc::new(in_force)));
    }

    pub(super) fn in_force(&self) -> Option<Arc<InForce>> {
        self.in_force.load_full()
    }

    pub(super) fn key_sealed_as(&self, sealed: &str) -> Option<Arc<TokenKey>> {
        self.in_force.load_full()?.published.iter().find(|key| key.sealed_as == sealed).cloned()
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
        let key = in_force.signing.get(&JwtAlgorithm::Es256)?;
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
}

#[async_trait]
impl Host for Issuer {
    async fn sign_jwt(&self, order: JwtOrder) -> Result<SecretString, EngineError> {
        let JwtOrder { algorithm, typ, mut claims, slot } = order;
        let in_force = self.in_force.load_full();
        let key = in_force.as_ref().and_then(|in_force| in_force.signing.get(&algorithm).cloned());
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

    async fn withdraw(&self, ended: &[Withdrawal]) -> Result<(), EngineError> {
        let store = self.store.get().ok_or_else(|| EngineError::retry("there is no store yet"))?;
        self.lists.withdraw(&**store, ended).await.map_err(|e| EngineError::retry(e.to_string()))
    }

    fn cloud_issuer(&self) -> Option<String> {
        None
    }

    async fn assert(&self, _: CloudAssertion) -> Result<SecretString, EngineError> {
        Err(EngineError::refused("there is no issuer for clouds"))
    }

    fn svid(&self) -> Result<Arc<dyn SvidSigner>, EngineError> {
        Err(EngineError::retry("there is no SVID"))
    }
}
