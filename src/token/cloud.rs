//! The broker's own word to clouds: short tokens by which a cloud's token service knows the broker, signed by keys of their own under an
//! issuer of their own. No workload ever holds one, and what workloads hold is never one.

use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use leasehold_sdk::{CloudAssertion, EngineError, Reason, Timestamp, clock, random};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use tokio::task::spawn_blocking;

use super::TokenConfig;
use super::issuer::{COME_AGAIN, Issuer};
use super::key::TokenKey;
use super::purpose::Purpose;

/// What follows the issuer's URL in that of the issuer for clouds.
pub(super) const PATH: &str = "/cloud";

/// How long one is good: it is made for one call, and used at once.
const LIFE: Duration = Duration::from_secs(300);

/// It is told as made so long ago: a cloud whose clock is a little behind refuses what was made in its future.
const BACKDATED: Duration = Duration::from_secs(30);

/// Longest assertion, in bytes: what AWS takes, which is the least.
const ASSERTION_BYTES_MAX: usize = 20_000;

/// What every assertion says, and the core alone.
pub(super) const CLAIMS: [&str; 6] = ["iss", "sub", "aud", "iat", "exp", "jti"];

/// Where clouds find the keys of the issuer of this configuration.
pub fn cloud_issuer(config: &TokenConfig) -> String {
    format!("{}{PATH}", config.issuer)
}

impl Issuer {
    /// What the configuration in force says; `None`: it has no issuer, so nothing is asserted.
    pub fn follow(&self, config: Option<&TokenConfig>) {
        self.cloud.store(config.map(|config| Arc::new(cloud_issuer(config))));
    }

    /// Who asserts to clouds; `None`: the configuration has no issuer.
    pub fn cloud_issuer(&self) -> Option<String> {
        self.cloud.load_full().map(|issuer| String::clone(&issuer))
    }

    /// Signs the broker's own word to a cloud.
    ///
    /// # Errors
    /// [`EngineError::Retry`] when there is no key at the moment, [`EngineError::Refused`] when there is no issuer, or when it says what
    /// it must not.
    pub async fn assert(&self, assertion: CloudAssertion) -> Result<SecretString, EngineError> {
        let issuer = self.cloud_issuer();
        let issuer =
            issuer.ok_or_else(|| EngineError::refused("there is no issuer for clouds: there is no [token]"))?;
        // What a command said in the broker's name would be worth as much, and stand in no audit log.
        if self.store.get().is_none() {
            return Err(EngineError::refused("no broker runs here, and leasehold check signs nothing"));
        }
        let in_force = self.in_force();
        let key = in_force.as_ref().and_then(|in_force| in_force.signing.get(&Purpose::Clouds).cloned());
        let Some((in_force, key)) = in_force.zip(key) else {
            let why = Reason::new("there is no key to assert to clouds with at the moment");
            return Err(EngineError::Retry { why, after: Some(COME_AGAIN) });
        };
        let claims = claims(issuer, &in_force.cluster, assertion, clock::wall())?;
        signed(key, claims).await
    }
}

/// What an assertion says.
fn claims(
    issuer: String,
    cluster: &str,
    assertion: CloudAssertion,
    now: Timestamp,
) -> Result<Map<String, Value>, EngineError> {
    let CloudAssertion { audience, about, mut claims } = assertion;
    if let Some(name) = CLAIMS.iter().chain(&["nbf"]).find(|name| claims.contains_key(**name)) {
        return Err(EngineError::refused(format!("the claim {name} of an assertion is the core's to say")));
    }
    // The subject's parts must be told apart by whoever writes a cloud's rules.
    let is_name =
        !about.is_empty() && about.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if audience.is_empty() || !is_name {
        return Err(EngineError::refused("an assertion needs an audience, and the name of a role or target"));
    }
    let issued_at = now.minus(BACKDATED);
    let seconds = |time: Timestamp| Value::from(time.unix_ms().div_euclid(1000));
    claims.extend([
        ("iss".to_owned(), issuer.into()),
        ("sub".to_owned(), format!("leasehold:{cluster}:{about}").into()),
        ("aud".to_owned(), audience.into()),
        ("iat".to_owned(), seconds(issued_at)),
        ("exp".to_owned(), seconds(issued_at.plus(LIFE))),
        ("jti".to_owned(), HEXLOWER.encode(&random::bytes::<16>()).into()),
    ]);
    Ok(claims)
}

async fn signed(key: Arc<TokenKey>, claims: Map<String, Value>) -> Result<SecretString, EngineError> {
    // A millisecond and more, which every other task of this thread would wait for.
    let signed = spawn_blocking(move || key.sign("JWT", &claims))
        .await
        .map_err(|_| EngineError::retry("the signing task failed; the log has more"))?;
    let assertion = signed.map_err(|e| EngineError::refused(e.to_string()))?;
    let length = assertion.expose_secret().len();
    if length > ASSERTION_BYTES_MAX {
        let why = format!(
            "the assertion would be {length} bytes long, {ASSERTION_BYTES_MAX} is the most: shorten what it says"
        );
        return Err(EngineError::refused(why));
    }
    Ok(assertion)
}
