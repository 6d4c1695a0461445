//! Whose tokens are taken, for whom, and how strictly.

use std::path::PathBuf;
use std::time::Duration;

use leasehold_identity::{ServerBundle, SpiffeId};

use super::bind::Binding;
use super::fetch::Place;
use crate::ClientError;
use crate::limits::{KEYS_KEPT_DEFAULT, TOKEN_LEEWAY_DEFAULT, TOKEN_LEEWAY_MAX};

/// What a [`Verifier`](super::Verifier) goes by.
#[derive(Debug, Clone)]
pub struct VerifierConfig {
    pub(super) issuer: String,
    pub(super) audience: String,
    pub(super) keys: KeySource,
    pub(super) leeway: Duration,
    pub(super) binding: Binding,
    pub(super) status: StatusPolicy,
    pub(super) keys_kept_for: Duration,
}

/// Where the issuer's keys come from.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// Its public listener, at the address that is the issuer's name.
    Issuer(IssuerTls),
    /// A folder that `leasehold token export-discovery` has written, for services that cannot reach it. Read again within
    /// seconds of a change. Status lists are then out of reach.
    Folder(PathBuf),
}

/// How the issuer's server proves itself.
#[derive(Debug, Clone)]
pub enum IssuerTls {
    /// By the broker's SVID, as it does unless `public_tls` is configured.
    Broker {
        /// The broker's SPIFFE ID, such as `spiffe://prod.example.org/leasehold`.
        id: SpiffeId,
        /// What verifies it.
        bundle: ServerBundle,
    },
    /// By its host name, where `public_tls` is configured.
    Web {
        /// PEM certificates of the authorities that are believed; `None`: those of the public web.
        ca: Option<PathBuf>,
    },
}

/// What is done about tokens that say where their status is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StatusPolicy {
    /// It is not asked for: a revoked token is taken until it expires.
    Ignore,
    /// A revoked token is refused. While no list can be fetched, tokens are taken as long as they live, which is minutes: an
    /// issuer that is away ends nobody's work.
    #[default]
    IfReachable,
    /// Nothing is taken of which it is not known whether it was revoked: an issuer that is away for longer than its last
    /// list is valid ends everybody's work.
    Require,
}

impl VerifierConfig {
    /// Tokens of `issuer` (its URL, exactly as tokens say it) for `audience` (exactly as the target says it).
    ///
    /// Unless said otherwise: clocks may be 30 s apart, tokens must be bound to a certificate, which must be the very one that
    /// is shown, revoked tokens are refused as far as the issuer can be reached, and its keys are used for 24 h while it cannot.
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>, keys: KeySource) -> Self {
        Self {
            issuer: issuer.into(),
            audience: audience.into(),
            keys,
            leeway: TOKEN_LEEWAY_DEFAULT,
            binding: Binding { required: true, renewed: None },
            status: StatusPolicy::default(),
            keys_kept_for: KEYS_KEPT_DEFAULT,
        }
    }

    /// The same with keys from somewhere else.
    #[must_use]
    pub fn with_keys(mut self, keys: KeySource) -> Self {
        self.keys = keys;
        self
    }

    /// How far the clocks of this host and of the issuer may be apart: at most five minutes, in whole seconds.
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// Takes tokens that are bound to no certificate, too (`bind = "none"`). Whoever steals one can use it. A token that is
    /// bound is still good only with its certificate.
    #[must_use]
    pub fn accept_unbound(mut self) -> Self {
        self.binding.required = false;
        self
    }

    /// Takes a bound token with another certificate, too, if that is of the identity that the token is about (`sub`) and was
    /// issued at most this long before or after the token. For callers whose certificate is renewed while a token of theirs
    /// is still good. Whoever can get a certificate of that identity can then use its tokens, which is no more than it could
    /// ask for anyhow.
    #[must_use]
    pub fn accept_renewed_certificate(mut self, window: Duration) -> Self {
        self.binding.renewed = Some(window);
        self
    }

    /// What is done about revoked tokens.
    #[must_use]
    pub fn status(mut self, policy: StatusPolicy) -> Self {
        self.status = policy;
        self
    }

    /// How long the issuer's keys are used while it cannot be reached.
    #[must_use]
    pub fn keep_keys_for(mut self, time: Duration) -> Self {
        self.keys_kept_for = time;
        self
    }

    pub(super) fn check(&self) -> Result<(), ClientError> {
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
        let is_place = Place::parse(&self.issuer).is_some() && plain(&self.issuer);
        if !is_place || self.issuer.ends_with('/') || self.issuer.contains(['?', '#']) {
            let why = "must be an https URL without a slash at its end, query and fragment, such as https://leasehold.example.org";
            return Err(ClientError::setting("issuer", why));
        }
        if self.audience.is_empty() || !plain(&self.audience) {
            return Err(ClientError::setting(
                "audience",
                "must be printable ASCII without spaces, as the token target says it",
            ));
        }
        if self.leeway > TOKEN_LEEWAY_MAX {
            return Err(ClientError::setting("leeway", format!("must be at most {} s", TOKEN_LEEWAY_MAX.as_secs())));
        }
        Ok(())
    }
}
