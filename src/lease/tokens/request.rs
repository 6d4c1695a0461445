//! A token asked for as OAuth 2.0 has it: by audience and scopes, not by role.

use std::collections::BTreeMap;
use std::sync::Arc;

use leasehold_identity::SpiffeId;
use leasehold_sdk::Behalf;
use secrecy::{ExposeSecret, SecretString};

use super::super::ask::OnBehalf;
use super::super::authorize::Deed;
use super::super::{Broker, Current, Failure, Issued, MintAsk, RequestId};
use super::own::is_verifier;
use crate::domain::caller::Caller;
use crate::domain::grant::Action;
use crate::policy::{Decision, Denial};
use crate::store::StoreError;

/// A token is asked for.
#[derive(Debug, Default)]
pub struct TokenAsk {
    /// For this audience (RFC 8707).
    pub resource: String,
    /// With these scopes; all of the role's unless said.
    pub scope: Option<String>,
    /// With these params.
    pub params: BTreeMap<String, String>,
    /// In exchange for this one (RFC 8693).
    pub subject_token: Option<SecretString>,
}

/// Why there is no token: one kind for each error code of RFC 6749 section 5.2, RFC 7009 and RFC 8707.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefused {
    /// No grant for this audience, or no such audience: the same words.
    #[error("nothing lets you have a token for this resource (decision {decision_id})")]
    Target {
        /// The audit log has it too.
        decision_id: String,
    },
    /// No role has the scopes.
    #[error("{0}")]
    Scope(String),
    /// Something in the request does not fit.
    #[error("{0}")]
    Request(String),
    /// The token that is to be exchanged is not good, or not the caller's to exchange.
    #[error("the subject token is none of this issuer's, has ended, or was not sent to you")]
    Subject,
    /// A token without a lease.
    #[error("this token has no lease: it ends by itself, within ten minutes of its issue")]
    CannotEnd,
    /// Another's token.
    #[error("this token is not yours to revoke")]
    NotYours,
    /// The broker did not do it.
    #[error(transparent)]
    Failure(#[from] Failure),
}

impl From<StoreError> for TokenRefused {
    fn from(error: StoreError) -> Self {
        Self::Failure(error.into())
    }
}

impl Broker {
    /// Finds the caller's one role for what is asked, and mints.
    ///
    /// # Errors
    /// See [`TokenRefused`].
    pub async fn token(
        self: &Arc<Self>,
        caller: &Caller,
        request: &RequestId,
        ask: TokenAsk,
    ) -> Result<Issued, TokenRefused> {
        let behalf = match &ask.subject_token {
            Some(token) => Some(self.on_behalf(caller, token).await?),
            None => None,
        };
        let role = self.role_for(caller, request, &ask, behalf.as_ref()).await?;
        let TokenAsk { scope, params, .. } = ask;
        let mint = MintAsk { role, scope, params, behalf, ttl: None, replaces: None };
        Ok(self.mint(caller, request, mint).await?)
    }

    /// Of whom a token speaks that the caller was sent and wants to exchange.
    async fn on_behalf(&self, caller: &Caller, token: &SecretString) -> Result<OnBehalf, TokenRefused> {
        let own = self.issuer.read(token.expose_secret()).ok_or(TokenRefused::Subject)?;
        if !is_verifier(&self.current(), &own.audience, &caller.id) || !self.is_good(&own).await? {
            return Err(TokenRefused::Subject);
        }
        let subject = SpiffeId::parse(&own.subject).map_err(|_| TokenRefused::Subject)?;
        let texts = own.claims.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
        let told = Behalf {
            claims: texts.collect(),
            subject: own.subject,
            scope: own.scope,
            ends_by: own.expires_at,
            actor: own.actor,
        };
        Ok(OnBehalf { subject, told })
    }

    /// The one role by which the caller may have what it asks for.
    async fn role_for(
        &self,
        caller: &Caller,
        request: &RequestId,
        ask: &TokenAsk,
        behalf: Option<&OnBehalf>,
    ) -> Result<String, TokenRefused> {
        let current = self.current();
        let action = if behalf.is_some() { Action::Exchange } else { Action::Mint };
        let subject = behalf.map(|behalf| &behalf.subject);
        let (mut granted, mut nearest) = (Vec::new(), None);
        for (role, scopes) in roles_for(&current, &ask.resource, ask.scope.as_deref()) {
            let deed = Deed { subject, ..Deed::on_role(action, &role, &ask.params) };
            match self.would(&current.config.rules, caller, &deed) {
                Decision::Allowed { .. } => granted.push((role, scopes)),
                Decision::Denied(Denial::Params { .. }) => nearest = nearest.or(Some(role)),
                Decision::Denied(_) | Decision::BreakGlass => {}
            }
        }
        if granted.is_empty() {
            // On record like every refusal; whether there is such an audience is not told.
            // No role has a space in its name: who calls a role its resource is not put on record as allowed to have it.
            let unknown = format!("for {}", ask.resource);
            let about = nearest.as_deref().unwrap_or(&unknown);
            let deed = Deed { subject, ..Deed::on_role(action, about, &ask.params) };
            return Err(match self.authorize(&current.config.rules, caller, request, deed).await {
                Err(Failure::Denied { decision_id, .. }) if nearest.is_none() => TokenRefused::Target { decision_id },
                Err(Failure::Denied { decision_id, reason }) => {
                    TokenRefused::Request(format!("{reason} (decision {decision_id})"))
                }
                Err(other) => other.into(),
                // The configuration has changed between the two looks.
                Ok(_) => Failure::NotFound.into(),
            });
        }
        choose(granted, ask.scope.as_deref())
    }
}

/// The roles of tokens for this audience, with their scopes; first those that have most of what is asked for, so that of several
/// refusals the one that matters is told.
fn roles_for(current: &Current, audience: &str, scope: Option<&str>) -> Vec<(String, Vec<String>)> {
    let of_role = |role: &Arc<crate::domain::role::Role>| {
        let target = current.config.targets.get(&role.target)?;
        let tokens = target.engine.as_tokens().filter(|tokens| tokens.audience() == audience)?;
        Some((role.name.clone(), tokens.scopes(&role.settings)))
    };
    let mut roles: Vec<_> = current.config.rules.roles.values().filter_map(of_role).collect();
    let asked = scopes_in(scope);
    roles.sort_by_key(|(_, has)| std::cmp::Reverse(count(&asked, has)));
    roles
}

fn scopes_in(scope: Option<&str>) -> Vec<&str> {
    scope.unwrap_or_default().split(' ').filter(|scope| !scope.is_empty()).collect()
}

fn count(asked: &[&str], has: &[String]) -> usize {
    asked.iter().filter(|scope| has.iter().any(|one| one == *scope)).count()
}

/// The one role that has all the scopes asked for, else the one that has some of them.
fn choose(granted: Vec<(String, Vec<String>)>, scope: Option<&str>) -> Result<String, TokenRefused> {
    let asked = scopes_in(scope);
    if scope.is_some() && asked.is_empty() {
        return Err(TokenRefused::Scope("scope names no scope".into()));
    }
    let count = |has: &[String]| count(&asked, has);
    let best = granted.iter().map(|(_, has)| count(has)).max().unwrap_or(0);
    if !asked.is_empty() && best == 0 {
        return Err(TokenRefused::Scope("no role of yours for this resource has any of these scopes".into()));
    }
    // Where none has all of them, several that have a part each are no choice of ours.
    let floor = if best == asked.len() { best } else { 1 };
    let mut fit: Vec<String> =
        granted.into_iter().filter(|(_, has)| count(has) >= floor).map(|(role, _)| role).collect();
    match (fit.pop(), fit.is_empty()) {
        (Some(role), true) => Ok(role),
        (Some(last), false) => {
            let names: Vec<String> = fit.into_iter().chain([last]).collect();
            let why = format!(
                "several roles of yours fit: {}; ask for scopes that only one has, or at /v1/credentials/{{role}}",
                names.join(", ")
            );
            Err(TokenRefused::Request(why))
        }
        (None, _) => Err(TokenRefused::Scope("no role of yours for this resource fits".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(granted: &[(&str, &[&str])], scope: Option<&str>) -> Result<String, TokenRefused> {
        let owned = |has: &[&str]| has.iter().map(|scope| (*scope).to_owned()).collect();
        choose(granted.iter().map(|(role, has)| ((*role).to_owned(), owned(has))).collect(), scope)
    }

    #[test]
    fn the_one_role_that_has_the_scopes_is_chosen() {
        let two: &[(&str, &[&str])] = &[("read", &["p:read"]), ("write", &["p:read", "p:write"])];
        assert_eq!(chosen(two, Some("p:write")).unwrap(), "write");
        assert_eq!(chosen(two, Some("p:read p:write")).unwrap(), "write");
        assert_eq!(chosen(&two[..1], None).unwrap(), "read");
        assert_eq!(chosen(&two[..1], Some("p:read p:write")).unwrap(), "read", "a part is better than nothing");
        for (scope, names) in [(None, ["read", "write"]), (Some("p:read"), ["read", "write"])] {
            let said = chosen(two, scope).unwrap_err();
            let TokenRefused::Request(why) = said else { panic!("{said}") };
            assert!(names.iter().all(|name| why.contains(name)), "{why}");
        }
        for scope in ["admin", "", " "] {
            assert!(matches!(chosen(two, Some(scope)), Err(TokenRefused::Scope(_))), "{scope:?}");
        }
    }
}
