//! The signing keys of tokens: made when due, and rotated when somebody says so.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use leasehold_sdk::JwtAlgorithm;
use serde_json::json;
use tokio::sync::watch;

use super::super::authorize::Deed;
use super::super::{Broker, Current, Failure, RequestId};
use crate::audit::Event;
use crate::config::Config;
use crate::domain::caller::Caller;
use crate::domain::grant::Action;
use crate::token::{Addresses, KeeperError, KeyLine, Published, Purpose};

/// Another broker's new key must be known here before verifiers can meet its signature.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The loop that keeps them; ends when the broker stops.
pub(in super::super) async fn run(broker: Arc<Broker>, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        broker.keep_token_keys().await;
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = stop.changed() => {}
        }
    }
}

impl Broker {
    /// Makes what is due, and brings the issuer what others made. What fails is tried again.
    pub(in super::super) async fn keep_token_keys(&self) {
        match self.look_at_token_keys().await {
            Ok(()) => {}
            Err(why) => {
                tracing::error!(%why, "the signing keys of tokens could not be looked at; those of before stay in force")
            }
        }
    }

    async fn look_at_token_keys(&self) -> Result<(), KeeperError> {
        let current = self.current();
        self.issuer.follow(current.config.token.as_ref());
        let Some((config, keeper)) = current.config.token.as_ref().zip(self.keeper.as_ref()) else { return Ok(()) };
        if self.unfit().is_some() {
            return Ok(());
        }
        // A clock that is not trusted is no reason to make keys, or to drop one. What others have ended is told all the same.
        if self.clock.trouble().is_some() {
            return keeper.listen(self.clock.now()).await;
        }
        let made = keeper.look(config, &addresses(&current.config), &wanted(&current), self.clock.now()).await?;
        for (purpose, generation) in made {
            tracing::info!(purpose = purpose.name(), generation, "a signing key was made");
            let what = "token_key_made".to_owned();
            let note = Some(format!("{} {generation}", purpose.name()));
            if let Err(e) = self.keep_for_audit(&Event::Broker { what, note }).await {
                tracing::error!(error = %e, "a new signing key could not be put on record");
            }
        }
        Ok(())
    }

    /// What the issuer publishes at this path.
    pub fn public_document(&self, path: &str) -> Option<Published> {
        self.current().config.token.as_ref()?;
        self.issuer.published(path)
    }

    /// The signing keys, for whoever reads all, or changes them: that is of no use blind.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn token_keys(&self, caller: &Caller, request: &RequestId) -> Result<Vec<KeyLine>, Failure> {
        let rules = self.current().config.rules.clone();
        let by = [Action::Read, Action::Admin]
            .into_iter()
            .find(|action| self.would(&rules, caller, &Deed::on_broker(*action)).allowed());
        self.authorize(&rules, caller, request, Deed::on_broker(by.unwrap_or(Action::Read))).await?;
        Ok(self.issuer.keys())
    }

    /// Makes other signing keys now, for one purpose `only` or for all that are in use. In an emergency they sign at once and all before
    /// them are gone.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn rotate_token_keys(
        self: &Arc<Self>,
        caller: &Caller,
        request: &RequestId,
        only: Option<Purpose>,
        emergency: bool,
    ) -> Result<Vec<KeyLine>, Failure> {
        let (this, caller, request) = (self.clone(), caller.clone(), request.clone());
        self.to_the_end(async move { this.rotate_token_keys_now(&caller, &request, only, emergency).await }).await
    }

    async fn rotate_token_keys_now(
        &self,
        caller: &Caller,
        request: &RequestId,
        only: Option<Purpose>,
        emergency: bool,
    ) -> Result<Vec<KeyLine>, Failure> {
        let current = self.current();
        let permit = self.authorize(&current.config.rules, caller, request, Deed::on_broker(Action::Admin)).await?;
        let keeper = self.keeper.as_ref().filter(|_| current.config.token.is_some()).ok_or_else(|| Failure::Bad {
            what: "token".into(),
            why: "there are no signing keys: the configuration has no [token] with an issuer".into(),
        })?;
        let which = only.map_or_else(|| wanted(&current), |one| BTreeSet::from([one]));
        let made = keeper.rotate(&which, emergency, self.clock.now()).await.map_err(failed)?;
        let made: Vec<String> =
            made.iter().map(|(purpose, generation)| format!("{} {generation}", purpose.name())).collect();
        tracing::warn!(?made, emergency, "signing keys were rotated");
        let event = Event::Operation {
            operation: "token_rotate_key".into(),
            decision_id: permit.decision_id,
            detail: json!({ "made": made, "emergency": emergency }),
        };
        self.keep_for_audit(&event).await?;
        self.look_at_token_keys().await.map_err(failed)?;
        Ok(self.issuer.keys())
    }
}

fn failed(why: KeeperError) -> Failure {
    Failure::StoreAway { why: why.to_string() }
}

/// Where clients reach the API: as it is said, else the issuer's host on the API's port.
fn addresses(config: &Config) -> Addresses {
    let issuer = config.token.as_ref().map_or("", |token| token.issuer.as_str());
    let host = match issuer.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => issuer,
    };
    let by_port = || format!("{host}:{}", config.listen.api.port());
    Addresses { api_url: config.listen.api_url.clone().unwrap_or_else(by_port) }
}

/// What there is to be signed: the tokens of roles, status lists, and the broker's own word to clouds where a target needs it.
fn wanted(current: &Current) -> BTreeSet<Purpose> {
    let of_roles = current.config.rules.roles.values().filter_map(|role| {
        let target = current.engines.get(&role.target)?;
        target.engine().as_tokens()?.algorithm(&role.settings)
    });
    let of_tokens = of_roles.chain([JwtAlgorithm::Es256]).map(Purpose::Tokens);
    let asserts = current.engines.iter().any(|target| target.engine().asserts_to_cloud());
    of_tokens.chain(asserts.then_some(Purpose::Clouds)).collect()
}
