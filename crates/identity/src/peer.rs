//! Who is at the other end of a connection, with the proof it came by.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use data_encoding::HEXLOWER;
use rustls::pki_types::CertificateDer;

use crate::SpiffeId;
use crate::chain::{Verified, Window};

/// A peer that proved its SPIFFE ID in a handshake. Cloning is cheap; clones share what a re-check found.
#[derive(Clone)]
pub struct Peer {
    /// Its verified ID.
    pub spiffe_id: SpiffeId,
    /// End of its certificate, in milliseconds since the Unix epoch.
    pub not_after_unix_ms: i64,
    /// SHA-256 over the DER of its certificate, in lower-case hex.
    pub cert_sha256: String,
    chain: Arc<[CertificateDer<'static>]>,
    proof: Arc<ArcSwap<Proof>>,
}

/// Which bundle last verified the chain, and how long that path holds.
#[derive(Clone, Copy)]
struct Proof {
    generation: u64,
    window: Window,
}

impl Proof {
    fn of(verified: &Verified) -> Arc<Self> {
        Arc::new(Self { generation: verified.generation, window: verified.window })
    }
}

impl Peer {
    pub(crate) fn new(verified: &Verified, chain: &[CertificateDer<'_>]) -> Self {
        let proof = Proof::of(verified);
        Self {
            spiffe_id: verified.spiffe_id.clone(),
            not_after_unix_ms: verified.not_after_ms,
            cert_sha256: chain.first().map(|leaf| sha256_hex(leaf)).unwrap_or_default(),
            chain: chain.iter().map(|cert| cert.clone().into_owned()).collect(),
            proof: Arc::new(ArcSwap::new(proof)),
        }
    }

    pub(crate) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Is the last verification still good: by a bundle of this generation, at this time?
    pub(crate) fn proved(&self, generation: u64, now_unix_ms: i64) -> bool {
        let proof = self.proof.load();
        proof.generation == generation && proof.window.contains(now_unix_ms)
    }

    pub(crate) fn proved_again(&self, verified: &Verified) {
        self.proof.store(Proof::of(verified));
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("spiffe_id", &self.spiffe_id)
            .field("not_after_unix_ms", &self.not_after_unix_ms)
            .field("cert_sha256", &self.cert_sha256)
            .finish_non_exhaustive()
    }
}

/// SHA-256 over the DER of a certificate, as RFC 8705 section 3.1 has it.
pub fn fingerprint(der: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

pub(crate) fn sha256_hex(der: &[u8]) -> String {
    HEXLOWER.encode(&fingerprint(der))
}
