//! Signs, by the keys in force.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use leasehold_sdk::{EngineError, Host, JwtAlgorithm};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use tokio::task::spawn_blocking;

use super::discovery::Documents;
use super::key::TokenKey;

/// Longest token, in bytes: it must fit into a header of every server on its way.
const TOKEN_BYTES_MAX: usize = 6 * 1024;

/// When to ask again while there are no keys yet.
const COME_AGAIN: Duration = Duration::from_secs(1);

/// The issuer. Without keys until its [`super::Keeper`] has brought the first.
#[derive(Default)]
pub struct Issuer {
    in_force: ArcSwapOption<InForce>,
}

/// What holds until the keeper brings something newer.
pub(super) struct InForce {
    pub(super) issuer: String,
    pub(super) signing: BTreeMap<JwtAlgorithm, Arc<TokenKey>>,
    pub(super) documents: Documents,
}

impl Issuer {
    pub(super) fn put(&self, in_force: InForce) {
        self.in_force.store(Some(Arc::new(in_force)));
    }

    /// What verifiers are told; `None`: there is no key yet.
    pub fn documents(&self) -> Option<Documents> {
        self.in_force.load_full().map(|in_force| in_force.documents.clone())
    }
}

#[async_trait]
impl Host for Issuer {
    async fn sign_jwt(
        &self,
        algorithm: JwtAlgorithm,
        typ: &'static str,
        mut claims: Map<String, Value>,
    ) -> Result<SecretString, EngineError> {
        let in_force = self.in_force.load_full();
        let key = in_force.as_ref().and_then(|in_force| in_force.signing.get(&algorithm).cloned());
        let Some((in_force, key)) = in_force.zip(key) else {
            let why = format!("there is no {} key to sign with at the moment", algorithm.as_str());
            return Err(EngineError::Retry { why, after: Some(COME_AGAIN) });
        };
        claims.insert("iss".to_owned(), Value::String(in_force.issuer.clone()));
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
            let why = format!("the token would be {length} bytes long, {TOKEN_BYTES_MAX} is the most: ask for fewer scopes, or shorten the role's claims");
            return Err(EngineError::refused(why));
        }
        Ok(token)
    }
}
