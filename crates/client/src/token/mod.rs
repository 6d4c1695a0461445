//! The receiving side of tokens: what a service embeds to check the access tokens (RFC 9068) that it is sent.
//!
//! ```no_run
//! # async fn example(token: &str, certificate: Option<&[u8]>) -> Result<(), Box<dyn std::error::Error>> {
//! use leasehold_client::token::{IssuerTls, KeySource, Presented, ServerBundle, Verifier, VerifierConfig, Wanted};
//!
//! // Once, when the service starts.
//! let tls = IssuerTls::Broker {
//!     id: "spiffe://prod.example.org/leasehold".parse()?,
//!     bundle: ServerBundle::File("/etc/payments/bundle.pem".into()),
//! };
//! let issuer = "https://leasehold.example.org";
//! let config = VerifierConfig::new(issuer, "https://payments.example.org", KeySource::Issuer(tls));
//! let verifier = Verifier::new(config)?;
//!
//! // For each request: may this caller write payments of tenant 42?
//! let presented = Presented { token, certificate };
//! let wanted = Wanted { scopes: &["payments:write"], claims: &[("tenant", "42")] };
//! match verifier.verify(&presented, &wanted).await {
//!     Ok(good) => println!("{} writes", good.subject),
//!     Err(no) => println!("{} {}: {no}", no.status(), no.www_authenticate()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A token is never more than its issuer's word: the key that verifies it comes from the issuer alone, by the algorithm that the
//! key is for. `docs/tokens-verifying.md` has the order of the checks.

mod bind;
mod claims;
mod config;
mod fetch;
mod json;
mod jws;
mod kept;
mod keys;
mod refused;
mod source;
mod status;
mod verifier;

pub use config::{IssuerTls, KeySource, StatusPolicy, VerifierConfig};
pub use leasehold_identity::ServerBundle;
pub use refused::Refused;
pub use verifier::{Presented, Verified, Verifier, Wanted};

/// Seconds since the epoch, by the wall clock: what tokens say of time is said by it. A clock set before 1970 reads as 0.
fn now() -> i64 {
    let since = crate::clock::wall().duration_since(std::time::SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
