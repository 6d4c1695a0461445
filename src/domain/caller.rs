//! Who is asking.

use leasehold_identity::SpiffeId;
use leasehold_sdk::Timestamp;

/// The verified identity behind a request, with the proof it came by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The SPIFFE ID, as verified for this request.
    pub id: SpiffeId,
    /// What proved it.
    pub proof: Proof,
}

/// How an identity was proved. A grant may come to demand a kind of proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// An X.509-SVID over mTLS.
    Certificate {
        /// SHA-256 of the leaf, in hex.
        sha256: String,
        /// When the leaf ends.
        not_after: Timestamp,
    },
}
