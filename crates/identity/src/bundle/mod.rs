//! Trust bundles: the authorities of one trust domain (Trust Domain and Bundle 4).

mod json;
mod jwks;

use std::time::Duration;

use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, TrustAnchor};

use crate::chain::Window;
use crate::facts::{self, Facts};
use crate::limits::BUNDLE_AUTHORITIES_MAX;

/// The X.509 authorities of one trust domain.
///
/// An **empty** bundle is a bundle: it says that no SVID of the domain is valid (Trust Domain and Bundle 4.1.3).
#[derive(Debug, Default)]
pub struct TrustBundle {
    anchors: Vec<TrustAnchor<'static>>,
    /// Beside `anchors`, one each.
    windows: Vec<Window>,
    constrained: Vec<bool>,
    ders: Vec<CertificateDer<'static>>,
    sequence: Option<u64>,
    refresh_hint: Option<Duration>,
    ignored: Vec<String>,
}

/// A bundle in use, and since when.
#[derive(Debug)]
pub(crate) struct DomainBundle {
    pub(crate) bundle: TrustBundle,
    /// The generation in which its content last changed.
    pub(crate) generation: u64,
    /// What it was read from, to see a change.
    pub(crate) content: Vec<u8>,
}

impl DomainBundle {
    /// It came from somewhere, and does not just stand for one that has not come yet or was withdrawn.
    pub(crate) fn is_known(&self) -> bool {
        !self.content.is_empty()
    }
}

/// Why a bundle is refused whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Neither PEM certificates nor JSON.
    #[error("it holds neither a PEM certificate nor a JSON Web Key Set")]
    NotABundle,
    /// A PEM block cannot be decoded.
    #[error("the PEM is damaged: {0}")]
    Pem(String),
    /// It is not certificates in DER.
    #[error("the DER is damaged: {0}")]
    Der(String),
    /// A certificate is not one.
    #[error("certificate number {number} cannot be read: {why}")]
    BadCertificate {
        /// Counted from 1.
        number: usize,
        /// What is wrong.
        why: String,
    },
    /// The JSON is not well-formed, or an object in it names a key twice.
    #[error("the JSON is not usable: {0}")]
    Json(String),
    /// The JSON is not a JWK Set of the form that SPIFFE asks for.
    #[error("it is not a SPIFFE bundle: {0}")]
    NotSpiffe(&'static str),
    /// More authorities than allowed.
    #[error("it holds more than {BUNDLE_AUTHORITIES_MAX} authorities")]
    TooMany,
    /// Its sequence number is lower than that of the bundle in use (Federation 4.2).
    #[error("its spiffe_sequence {found} is older than {in_use}, which is in use")]
    SequenceBack {
        /// In the file.
        found: u64,
        /// In use.
        in_use: u64,
    },
}

impl TrustBundle {
    /// Reads a bundle, PEM or SPIFFE JWK Set, seen from its content. Authorities that have expired by `now_unix_ms` and
    /// certificates that may not sign are left out. A file without any content is an empty bundle.
    ///
    /// # Errors
    /// A [`BundleError`] when it cannot be understood; then nothing of it is used.
    pub fn parse(content: &[u8], now_unix_ms: i64) -> Result<Self, BundleError> {
        match content.trim_ascii_start().first() {
            None => Ok(Self::default()),
            Some(b'{') => jwks::parse(content, now_unix_ms),
            Some(_) => Self::from_pem(content, now_unix_ms),
        }
    }

    /// The same from a SPIFFE JWK Set only, as bundle endpoints give it (Federation 4).
    pub(crate) fn parse_spiffe(content: &[u8], now_unix_ms: i64) -> Result<Self, BundleError> {
        jwks::parse(content, now_unix_ms)
    }

    /// How many usable authorities it holds.
    pub fn len(&self) -> usize {
        self.anchors.len()
    }

    /// No authority: every SVID of the domain is invalid.
    pub fn is_empty(&self) -> bool {
        self.anchors.is_empty()
    }

    /// `spiffe_sequence`, if it has one.
    pub fn sequence(&self) -> Option<u64> {
        self.sequence
    }

    /// `spiffe_refresh_hint`, if it has one: how often its source wants to be asked.
    pub fn refresh_hint(&self) -> Option<Duration> {
        self.refresh_hint
    }

    /// When the first of its authorities ends, in milliseconds since the Unix epoch.
    pub fn earliest_not_after_unix_ms(&self) -> Option<i64> {
        self.windows.iter().map(|window| window.until).min()
    }

    /// One of its authorities has name constraints on URIs: what it signs is refused, reason `name_constraints`.
    pub fn has_uri_name_constraints(&self) -> bool {
        self.constrained.contains(&true)
    }

    /// What was left out and why, one line each.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// The authorities' certificates.
    pub(crate) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    pub(crate) fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// Validity of an authority, and whether it constrains URIs.
    pub(crate) fn authority_of(&self, anchor: &TrustAnchor<'_>) -> Option<(Window, bool)> {
        // Two certificates may hold the same name and key; the one that lasts longest counts, unless any is constrained.
        let same = |i: &usize| self.anchors[*i] == *anchor;
        let alike: Vec<usize> = (0..self.anchors.len()).filter(same).collect();
        let longest = alike.iter().map(|i| self.windows[*i]).max_by_key(|window| window.until)?;
        Some((longest, alike.iter().any(|i| self.constrained[*i])))
    }

    fn from_pem(content: &[u8], now_unix_ms: i64) -> Result<Self, BundleError> {
        let mut bundle = Self::default();
        let mut found = 0;
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(content) {
            let (kind, der) = section.map_err(|e| BundleError::Pem(e.to_string()))?;
            if kind != SectionKind::Certificate {
                continue;
            }
            found += 1;
            let added = bundle.add(der.into(), now_unix_ms, &format!("certificate {found}"));
            added.map_err(|why| why.at(found))?;
        }
        if found == 0 {
            return Err(BundleError::NotABundle);
        }
        Ok(bundle)
    }

    /// The same from certificates in DER, one after the other, as a Workload API gives them.
    pub(crate) fn from_ders(content: &[u8], now_unix_ms: i64) -> Result<Self, BundleError> {
        let mut bundle = Self::default();
        // Those that are left out count too, so that there is a limit to the work.
        let ders = facts::split(content, 2 * BUNDLE_AUTHORITIES_MAX).map_err(|e| BundleError::Der(e.to_string()))?;
        for (at, der) in ders.into_iter().enumerate() {
            let number = at + 1;
            bundle.add(der, now_unix_ms, &format!("certificate {number}")).map_err(|why| why.at(number))?;
        }
        Ok(bundle)
    }

    /// Takes one certificate in, or notes why not.
    fn add(&mut self, der: CertificateDer<'static>, now_unix_ms: i64, name: &str) -> Result<(), AddError> {
        let facts = Facts::read(&der).map_err(|e| AddError::Unreadable(e.to_string()))?;
        let anchor =
            webpki::anchor_from_trusted_cert(&der).map_err(|e| AddError::Unreadable(e.to_string()))?.to_owned();
        let window = Window::of(&facts);
        if window.until < now_unix_ms {
            self.ignored.push(format!("{name} is left out: it has expired"));
            return Ok(());
        }
        if let Some(why) = facts.authority_violation() {
            self.ignored.push(format!("{name} is left out: {why}"));
            return Ok(());
        }
        if self.ders.contains(&der) {
            return Ok(());
        }
        if self.anchors.len() == BUNDLE_AUTHORITIES_MAX {
            return Err(AddError::TooMany);
        }
        self.anchors.push(anchor);
        self.windows.push(window);
        self.constrained.push(facts.uri_name_constraints);
        self.ders.push(der);
        Ok(())
    }
}

enum AddError {
    TooMany,
    Unreadable(String),
}

impl AddError {
    /// In a bundle that is one certificate after the other.
    fn at(self, number: usize) -> BundleError {
        match self {
            Self::TooMany => BundleError::TooMany,
            Self::Unreadable(why) => BundleError::BadCertificate { number, why },
        }
    }
}
