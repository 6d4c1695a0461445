//! Describing certificates to a person. Nothing here trusts anything.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;

use crate::error::tame;
use crate::facts::{self, Facts};
use crate::peer::sha256_hex;
use crate::{SpiffeId, SvidError};

/// What a certificate says of itself, unverified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CertReport {
    /// Its SPIFFE ID, if it has exactly one URI and that is one.
    pub spiffe_id: Option<SpiffeId>,
    /// All subject alternative names, in readable form.
    pub sans: Vec<String>,
    /// Subject.
    pub subject: String,
    /// Issuer.
    pub issuer: String,
    /// Start of validity, in milliseconds since the Unix epoch.
    pub not_before_unix_ms: i64,
    /// End of validity, in milliseconds since the Unix epoch, inclusive.
    pub not_after_unix_ms: i64,
    /// Serial number, in hex.
    pub serial: String,
    /// Key usages, or nothing if the extension is absent.
    pub key_usage: Option<String>,
    /// It may sign other certificates.
    pub is_ca: bool,
    /// SHA-256 over its DER, in lower-case hex.
    pub sha256: String,
    /// The rules of X509-SVID that it breaks: those for a leaf, or those for an authority if it is one. Its chain and its
    /// validity in time are not looked at.
    pub violations: Vec<String>,
}

/// Why certificates cannot be described.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// No PEM certificate in it.
    #[error("there is no PEM CERTIFICATE block")]
    NoCertificate,
    /// There are several where one is wanted.
    #[error("there are several PEM CERTIFICATE blocks")]
    Several,
    /// The PEM is damaged.
    #[error("the PEM is damaged: {0}")]
    Pem(String),
    /// A certificate cannot be read.
    #[error("certificate number {number} cannot be read: {source}")]
    Unreadable {
        /// Counted from 1.
        number: usize,
        /// What is wrong.
        source: SvidError,
    },
}

/// Describes every certificate of a PEM text.
///
/// # Errors
/// An [`InspectError`] if there is none or one cannot be read.
pub fn inspect(pem: &[u8]) -> Result<Vec<CertReport>, InspectError> {
    let mut reports = Vec::new();
    for der in CertificateDer::pem_slice_iter(pem) {
        let der = der.map_err(|e| InspectError::Pem(e.to_string()))?;
        let number = reports.len() + 1;
        let report = inspect_der(&der).map_err(|source| InspectError::Unreadable { number, source })?;
        reports.push(report);
    }
    if reports.is_empty() {
        return Err(InspectError::NoCertificate);
    }
    Ok(reports)
}

/// The certificate of a PEM text that holds one and nothing else, in DER. Nothing of it is looked at.
///
/// # Errors
/// An [`InspectError`] if there is none or the text is damaged; [`InspectError::Several`] if there are more.
pub fn single_from_pem(pem: &[u8]) -> Result<Vec<u8>, InspectError> {
    let mut all = CertificateDer::pem_slice_iter(pem).map(|der| der.map_err(|e| InspectError::Pem(e.to_string())));
    let first = all.next().ok_or(InspectError::NoCertificate)??;
    if all.next().is_some() { Err(InspectError::Several) } else { Ok(first.to_vec()) }
}

/// Describes one certificate in DER.
///
/// # Errors
/// [`SvidError::Malformed`] if it cannot be read.
pub fn inspect_der(der: &[u8]) -> Result<CertReport, SvidError> {
    let cert = facts::parse(der)?;
    let facts = Facts::of(&cert)?;
    let id = facts.spiffe_id();
    Ok(CertReport {
        violations: violations(&facts, &id),
        spiffe_id: id.ok(),
        subject: tame(&cert.subject().to_string()),
        issuer: tame(&cert.issuer().to_string()),
        not_before_unix_ms: facts.not_before.saturating_mul(1000),
        not_after_unix_ms: facts.not_after.saturating_mul(1000),
        serial: tame(&cert.raw_serial_as_string()),
        key_usage: facts.key_usage.map(|(usage, _)| usage.to_string()),
        is_ca: facts.is_ca,
        sha256: sha256_hex(der),
        sans: facts.sans,
    })
}

fn violations(facts: &Facts, id: &Result<SpiffeId, SvidError>) -> Vec<String> {
    if facts.is_ca {
        let broken = facts.authority_violation().map(str::to_owned);
        let constrained = facts.uri_name_constraints.then(|| SvidError::NameConstraints.to_string());
        return broken.into_iter().chain(constrained).collect();
    }
    match id {
        Ok(id) => facts.leaf_violations(id).iter().map(ToString::to_string).collect(),
        Err(error) => vec![error.to_string()],
    }
}
