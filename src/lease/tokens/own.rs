//! Whether a token of ours is good, told to those whom it concerns.

use std::sync::Arc;

use leasehold_identity::SpiffeId;
use serde_json::{Map, Value, json};

use super::super::{Broker, Current, Failure, RequestId};
use super::TokenRefused;
use crate::domain::caller::Caller;
use crate::domain::lease::State;
use crate::token::OwnToken;

impl Broker {
    /// What a token says, when it is good and the caller may know it: the one of whom it speaks, the one who asked for it, and those to
    /// whom such tokens are sent. `None` says nothing of why (RFC 7662 section 2.2).
    ///
    /// # Errors
    /// [`Failure::StoreAway`].
    pub async fn introspect(&self, caller: &Caller, token: &str) -> Result<Option<Map<String, Value>>, Failure> {
        let Some(own) = self.issuer.read(token) else { return Ok(None) };
        let concerned = [&own.subject, &own.client].into_iter().any(|id| id == caller.id.as_str());
        if !concerned && !is_verifier(&self.current(), &own.audience, &caller.id) {
            return Ok(None);
        }
        if !self.is_good(&own).await? {
            return Ok(None);
        }
        let mut told = own.claims;
        told.insert("active".to_owned(), json!(true));
        told.insert("token_type".to_owned(), json!("Bearer"));
        Ok(Some(told))
    }

    /// Ends a token by the token itself (RFC 7009): its holder's, or another's with a `revoke` grant. One that is none of ours is as
    /// ended as can be.
    ///
    /// # Errors
    /// [`TokenRefused`].
    pub async fn revoke_token(
        self: &Arc<Self>,
        caller: &Caller,
        request: &RequestId,
        token: &str,
    ) -> Result<(), TokenRefused> {
        let Some(own) = self.issuer.read(token) else { return Ok(()) };
        if !own.leased {
            return Err(TokenRefused::CannotEnd);
        }
        match self.revoke(caller, request, own.account.lease()).await {
            Ok(_) => Ok(()),
            Err(Failure::NotFound) if self.store.get(own.account.lease()).await.is_ok_and(|row| row.is_none()) => {
                Ok(())
            }
            Err(Failure::NotFound) => Err(TokenRefused::NotYours),
            Err(other) => Err(other.into()),
        }
    }

    /// Whether a token that we have signed is still good: by its time, its lease, and those whom it names.
    pub(super) async fn is_good(&self, own: &OwnToken) -> Result<bool, Failure> {
        let now = self.clock.now();
        let blocked = self.blocked.load();
        let is_blocked = |id: &String| SpiffeId::parse(id).map_or(true, |id| blocked.contains_key(&id));
        if own.expires_at <= now || is_blocked(&own.subject) || is_blocked(&own.client) {
            return Ok(false);
        }
        if own.account.tag() != self.store.tag() || *own.account.cluster() != self.current().config.broker.cluster {
            return Ok(false);
        }
        if !own.leased {
            return Ok(true);
        }
        let row = self.store.get(own.account.lease()).await?;
        Ok(row.is_some_and(|row| row.lease.state == State::Active && row.lease.expires_at > now))
    }
}

/// Whether this identity is one that tokens for `audience` are sent to.
pub(super) fn is_verifier(current: &Current, audience: &str, id: &SpiffeId) -> bool {
    let for_it =
        |target: &&crate::config::Target| target.engine.as_tokens().is_some_and(|tokens| tokens.audience() == audience);
    let mut verifiers = current.config.targets.values().filter(for_it).flat_map(|target| &target.verifiers);
    audience == id.as_str() || verifiers.any(|pattern| pattern.matches(id))
}
