//! SPIFFE bundle endpoints (Federation 4 and 5): the bundle of a trust domain from a URL, asked for again and again.
//!
//! URL, profile and trust domain are configured and never inferred. Redirects are not followed: what a redirect may lead to
//! would have to meet the same rules, and whoever moves an endpoint can tell.

mod address;
mod fetch;
mod follow;

use std::path::{Path, PathBuf};

use address::Url;
pub use address::UrlError;
pub(crate) use follow::follow;

use crate::SpiffeId;
use crate::peer::sha256_hex;

/// A URL with a SPIFFE bundle, and how its server proves itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleEndpoint {
    url: Url,
    profile: EndpointProfile,
    kept: Option<PathBuf>,
}

/// How the server of a bundle endpoint proves itself (Federation 5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndpointProfile {
    /// `https_web`: by its host name.
    HttpsWeb {
        /// PEM certificates of the authorities that are believed; `None`: those of the public web.
        ca: Option<PathBuf>,
    },
    /// `https_spiffe`: by its SPIFFE ID.
    HttpsSpiffe {
        /// Who it must be.
        endpoint_id: SpiffeId,
        /// A file with the bundle of the ID's trust domain, for the time when no newer one is known.
        bootstrap: PathBuf,
    },
}

/// The last word of an endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    /// Whose. What another one gave does not count.
    pub(crate) endpoint: BundleEndpoint,
    /// The last good document.
    pub(crate) document: Option<Vec<u8>>,
    /// Why there is no newer one.
    pub(crate) trouble: Option<String>,
}

impl BundleEndpoint {
    /// An endpoint at `https://host[:port]/path`.
    ///
    /// # Errors
    /// A [`UrlError`].
    pub fn new(url: &str, profile: EndpointProfile) -> Result<Self, UrlError> {
        Ok(Self { url: Url::parse(url)?, profile, kept: None })
    }

    /// Keeps the last good document in a file in this directory, so that it serves after a restart too, until it is fetched
    /// again.
    #[must_use]
    pub fn kept_in(mut self, dir: &Path) -> Self {
        // Another URL or server begins anew: what the old one gave must not stand against it.
        let server = match &self.profile {
            EndpointProfile::HttpsWeb { .. } => "",
            EndpointProfile::HttpsSpiffe { endpoint_id, .. } => endpoint_id.as_str(),
        };
        let name = sha256_hex(format!("{}\n{server}", self.url).as_bytes());
        self.kept = Some(dir.join(format!("{name}.json")));
        self
    }

    pub(crate) fn kept(&self) -> Option<&Path> {
        self.kept.as_deref()
    }

    /// For errors.
    pub(crate) fn place(&self) -> PathBuf {
        self.url.to_string().into()
    }
}

impl Fetched {
    pub(crate) fn new(endpoint: &BundleEndpoint) -> Self {
        Self { endpoint: endpoint.clone(), document: None, trouble: None }
    }

    /// It has not been asked to an end yet.
    pub(crate) fn is_awaited(&self) -> bool {
        self.document.is_none() && self.trouble.is_none()
    }
}
