//! The checks, in their order.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use leasehold_identity::SpiffeId;

use super::claims::Claims;
use super::fetch::Https;
use super::jws::Jws;
use super::keys::Keys;
use super::status::Statuses;
use super::{KeySource, Refused, VerifierConfig, now, source};
use crate::ClientError;
use crate::limits::TOKEN_BYTES_MAX;

/// The media type of an access token (RFC 9068 section 2.1), without `application/`.
const ACCESS_TOKEN: &str = "at+jwt";

/// Verifies the tokens of one issuer for one audience. To be made once; cheap to clone, and clones share what they know.
#[derive(Clone)]
pub struct Verifier {
    inner: Arc<Inner>,
}

struct Inner {
    config: VerifierConfig,
    keys: Keys,
    statuses: Statuses,
}

/// What a caller has shown.
#[derive(Clone, Copy)]
pub struct Presented<'a> {
    /// What stood behind `Bearer ` in the header `Authorization`.
    pub token: &'a str,
    /// The certificate that the caller has shown in the TLS handshake, leaf only, in DER. The caller of this library vouches
    /// that the handshake has verified it.
    pub certificate: Option<&'a [u8]>,
}

/// What is wanted of a token beyond that it is good.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// It must have all of these scopes.
    pub scopes: &'a [&'a str],
    /// It must have all of these claims, with exactly these values: claims of the role, such as `tenant`.
    pub claims: &'a [(&'a str, &'a str)],
}

/// A token that is good.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// Whom it speaks for (`sub`).
    pub subject: SpiffeId,
    /// Who acts in the subject's name, where the token was exchanged (`act.sub`).
    pub actor: Option<SpiffeId>,
    /// What it allows.
    pub scopes: Vec<String>,
    /// The claims that its role has put in, such as `tenant`.
    pub claims: BTreeMap<String, String>,
    /// When it ends.
    pub expires_at: SystemTime,
    /// Its name, which the lease and the audit log have too (`jti`).
    pub id: String,
    /// It is bound to a certificate, and that was shown.
    pub is_bound: bool,
}

impl Verifier {
    /// One that has asked nobody yet: the issuer's keys are fetched for the first token.
    ///
    /// # Errors
    /// [`ClientError::Setting`] for a configuration that cannot be meant.
    pub fn new(config: VerifierConfig) -> Result<Self, ClientError> {
        config.check()?;
        let (issuer, kept_for) = (&config.issuer, config.keys_kept_for);
        let (keys, https) = match &config.keys {
            KeySource::Issuer(tls) => {
                let https = Arc::new(Https::new(tls));
                (source::over_https(Arc::clone(&https), issuer, kept_for), Some(https))
            }
            KeySource::Folder(folder) => (source::in_folder(folder.clone(), issuer, kept_for), None),
        };
        let keys = Keys::new(keys);
        let statuses = Statuses::new(config.status, issuer, config.leeway, keys.clone(), https);
        Ok(Self { inner: Arc::new(Inner { config, keys, statuses }) })
    }

    /// Judges a token. Nobody is asked while its key and its status list are known; else the issuer is, for at most some
    /// seconds. Needs a Tokio runtime.
    ///
    /// # Errors
    /// [`Refused`], by the first check that does not hold.
    pub async fn verify(&self, presented: &Presented<'_>, wanted: &Wanted<'_>) -> Result<Verified, Refused> {
        let Inner { config, keys, statuses } = &*self.inner;
        if presented.token.len() > TOKEN_BYTES_MAX {
            return Err(Refused::TooLarge);
        }
        let jws = Jws::parse(presented.token, ACCESS_TOKEN)?;
        let key = keys.find(&jws.kid).await?;
        let claims = Claims::read(&jws.verified(&key)?)?;
        claims.check(&config.issuer, &config.audience, now(), config.leeway)?;
        config.binding.check(&claims, presented.certificate)?;
        claims.allow(wanted.scopes, wanted.claims)?;
        if let Some(at) = &claims.status {
            statuses.check(at).await?;
        }
        Ok(verified(claims))
    }
}

fn verified(claims: Claims) -> Verified {
    let ends = Duration::from_secs(u64::try_from(claims.expires_at).unwrap_or_default());
    Verified {
        subject: claims.subject,
        actor: claims.actor,
        scopes: claims.scopes,
        claims: claims.own,
        // A time beyond what the system can say does not end.
        expires_at: SystemTime::UNIX_EPOCH.checked_add(ends).unwrap_or(SystemTime::UNIX_EPOCH + FAR),
        id: claims.id,
        is_bound: claims.certificate.is_some(),
    }
}

/// The last second of the year 9999.
const FAR: Duration = Duration::from_secs(253_402_300_799);

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Verifier").field(&self.inner.config).finish()
    }
}

/// Without the token.
impl fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented").field("has_certificate", &self.certificate.is_some()).finish_non_exhaustive()
    }
}
