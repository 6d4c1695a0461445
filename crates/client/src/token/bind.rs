//! Whether the token belongs to who shows it (RFC 8705 section 3).

use std::time::Duration;

use leasehold_identity::{fingerprint, inspect_der};

use super::Refused;
use super::claims::Claims;

/// How strictly a token goes with its certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Binding {
    /// A token that is bound to no certificate is refused.
    pub(super) required: bool,
    /// Another certificate of the same identity is taken if it was issued at most this long before or after the token.
    pub(super) renewed: Option<Duration>,
}

impl Binding {
    /// `certificate`: the DER of the leaf that the peer has shown and proved the key of.
    ///
    /// # Errors
    /// What does not fit.
    pub(super) fn check(&self, claims: &Claims, certificate: Option<&[u8]>) -> Result<(), Refused> {
        let Some(bound_to) = claims.certificate else {
            return if self.required { Err(Refused::NotBound) } else { Ok(()) };
        };
        let certificate = certificate.ok_or(Refused::NoCertificate)?;
        if fingerprint(certificate) == bound_to || self.is_renewed(claims, certificate) {
            return Ok(());
        }
        Err(Refused::OtherCertificate)
    }

    /// The certificate was renewed since: it is of the very identity that the token is about.
    fn is_renewed(&self, claims: &Claims, certificate: &[u8]) -> bool {
        let (Some(window), Ok(report)) = (self.renewed, inspect_der(certificate)) else { return false };
        let apart = report.not_before_unix_ms.div_euclid(1000).abs_diff(claims.issued_at);
        report.violations.is_empty() && report.spiffe_id.as_ref() == Some(&claims.subject) && apart <= window.as_secs()
    }
}
