//! What `check` says of the public listener: whether verifiers find the issuer's keys, and what they are shown.

use leasehold_identity::PublicAcceptor;
use leasehold_sdk::Level;

use super::report::Found;
use crate::config::Config;

/// Looks at the certificate that it is to show, without listening.
pub(super) fn look(config: &Config) -> Vec<Found> {
    let found = |level, what: String| Found::new(level, "public", what);
    match (&config.listen.public, &config.token) {
        (None, None) => Vec::new(),
        (None, Some(_)) => {
            let what = "no verifier reaches the issuer's keys: set listen.public, or serve what `leasehold token export-discovery` writes";
            vec![found(Level::Warning, what.to_owned())]
        }
        (Some(_), None) => {
            vec![found(
                Level::Warning,
                "listen.public has nothing to tell: there is no [token] with an issuer".to_owned(),
            )]
        }
        (Some(public), Some(_)) => match public.tls.clone().map(PublicAcceptor::with_files) {
            None => Vec::new(),
            Some(Err(why)) => vec![found(Level::Error, format!("listen.public_tls: {why}"))],
            Some(Ok(shown)) => shown.warning().into_iter().map(|why| found(Level::Warning, why)).collect(),
        },
    }
}
