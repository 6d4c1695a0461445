//! What an [`Identity`](crate::Identity) is made from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::{BundleEndpoint, IdentityError, TrustDomain, WorkloadApi};

/// Where the trust bundle of one trust domain comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BundleSource {
    /// A file with PEM certificates or a SPIFFE bundle (a JWK Set); which of both is seen from its content.
    File(PathBuf),
    /// The Workload API that the own SVID comes from: the bundle of the own domain, or one that it federates with.
    WorkloadApi,
    /// A bundle endpoint.
    Endpoint(BundleEndpoint),
}

impl BundleSource {
    /// It is read when it is asked for; others are asked in the background.
    pub(crate) fn is_file(&self) -> bool {
        matches!(self, Self::File(_))
    }
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
    /// A SPIFFE Workload API.
    WorkloadApi(WorkloadApi),
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
        let mut paths: Vec<&Path> = match &self.svid {
            SvidSource::Files { cert, key } => vec![cert, key],
            SvidSource::WorkloadApi(_) => Vec::new(),
        };
        paths.extend(self.bundles.values().filter_map(|source| match source {
            BundleSource::File(path) => Some(path.as_path()),
            BundleSource::WorkloadApi | BundleSource::Endpoint(_) => None,
        }));
        paths
    }

    /// The Workload API that is asked, if one is.
    pub(crate) fn workload_api(&self) -> Option<&WorkloadApi> {
        match &self.svid {
            SvidSource::WorkloadApi(api) => Some(api),
            SvidSource::Files { .. } => None,
        }
    }

    /// The bundle endpoints that are asked.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = (&TrustDomain, &BundleEndpoint)> {
        self.bundles.iter().filter_map(|(domain, source)| match source {
            BundleSource::Endpoint(endpoint) => Some((domain, endpoint)),
            _ => None,
        })
    }

    /// What is wrong with it before any source is asked.
    pub(crate) fn check(&self) -> Result<(), IdentityError> {
        if !self.bundles.contains_key(&self.trust_domain) {
            return Err(IdentityError::NoOwnBundle(self.trust_domain.clone()));
        }
        let asks = self.bundles.iter().find(|(_, source)| **source == BundleSource::WorkloadApi);
        match asks {
            Some((domain, _)) if self.workload_api().is_none() => Err(IdentityError::NoWorkloadApi(domain.clone())),
            _ => Ok(()),
        }
    }
}
