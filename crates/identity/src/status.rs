//! How the own identity and the trust bundles are doing.

use serde::Serialize;

use crate::{SpiffeId, TrustDomain};

/// The state of an [`Identity`](crate::Identity) at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct IdentityStatus {
    /// The own SPIFFE ID.
    pub spiffe_id: SpiffeId,
    /// End of the own certificate, in milliseconds since the Unix epoch.
    pub svid_not_after_unix_ms: i64,
    /// The own SVID verifies right now with the bundle of its own domain.
    pub svid_ok: bool,
    /// Why it does not.
    pub svid_problem: Option<String>,
    /// Why a newer SVID was not taken, or cannot come just now.
    pub svid_last_error: Option<String>,
    /// One entry per configured trust domain, in their order.
    pub domains: Vec<DomainStatus>,
    /// Things that work and should still be mended, such as a key that others can read.
    pub warnings: Vec<String>,
    /// Counts changes of the SVID or of a bundle; starts at 1.
    pub generation: u64,
}

/// The state of one trust bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DomainStatus {
    /// Whose bundle.
    pub trust_domain: TrustDomain,
    /// How many authorities it holds; with none, every SVID of the domain is invalid.
    pub authorities: usize,
    /// When the first of them ends, in milliseconds since the Unix epoch.
    pub earliest_not_after_unix_ms: Option<i64>,
    /// `spiffe_sequence`, if the bundle has one.
    pub sequence: Option<u64>,
    /// The alarm `uri_name_constraints`: an authority has name constraints on URIs, and what it signs is refused.
    pub has_uri_name_constraints: bool,
    /// Entries of the bundle that were left out, and why.
    pub ignored: Vec<String>,
    /// Why a newer bundle was not taken or cannot come just now; the last good one stays in use, unless it was withdrawn.
    pub last_error: Option<String>,
}
