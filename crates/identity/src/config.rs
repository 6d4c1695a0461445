//! What an [`Identity`](crate::Identity) is made from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::TrustDomain;

/// Where the trust bundle of one trust domain comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BundleSource {
    /// A file with PEM certificates or a SPIFFE bundle (a JWK Set); which of both is seen from its content.
    File(PathBuf),
}

/// Where the own X.509-SVID comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SvidSource {
    /// PEM files: the certificate chain, leaf first, and its private key.
    Files {
        /// The leaf, followed by its intermediates if there are any.
        cert: PathBuf,
        /// The private key: PKCS#8, SEC1 or PKCS#1.
        key: PathBuf,
    },
}

/// The own identity and whom it can verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityConfig {
    /// The own trust domain: the SVID must be of it and `bundles` must hold it.
    pub trust_domain: TrustDomain,
    /// The own certificate and key.
    pub svid: SvidSource,
    /// One source per trust domain. Bundles are never pooled: one verifies SVIDs of its own domain only.
    pub bundles: BTreeMap<TrustDomain, BundleSource>,
}

impl IdentityConfig {
    /// Every file that is read, for the watcher.
    pub(crate) fn paths(&self) -> Vec<&Path> {
        let SvidSource::Files { cert, key } = &self.svid;
        let bundles = self.bundles.values().map(|source| match source {
            BundleSource::File(path) => path.as_path(),
        });
        [cert.as_path(), key.as_path()].into_iter().chain(bundles).collect()
    }
}
