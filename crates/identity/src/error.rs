//! What can go wrong, said for the reader; every refusal of a peer has a stable reason code.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::limits::PEER_TEXT_BYTES_MAX;
use crate::{BundleError, IdError, SpiffeId, TrustDomain};

/// Why a certificate chain is not an acceptable X.509-SVID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SvidError {
    /// The certificate cannot be read, or an extension that matters cannot or stands twice.
    #[error("the certificate is malformed: {0}")]
    Malformed(&'static str),
    /// No URI among the subject alternative names (X509-SVID 2).
    #[error("the certificate has no URI subject alternative name, so no SPIFFE ID")]
    NoUriSan,
    /// More than one URI of any scheme (X509-SVID 2 and 5.2).
    #[error("the certificate has {0} URI subject alternative names; exactly one is allowed")]
    SeveralUriSans(usize),
    /// The one URI is not a SPIFFE ID.
    #[error("{text:?} is not a SPIFFE ID: {why}")]
    BadSpiffeId {
        /// What stood there, cut.
        text: String,
        /// What is wrong with it.
        why: IdError,
    },
    /// The ID of a leaf has no path (X509-SVID 5.2).
    #[error("{0} names a whole trust domain; a workload's ID has a path")]
    RootPath(SpiffeId),
    /// The leaf is a certificate authority (X509-SVID 5.2).
    #[error("the leaf is a certificate authority")]
    CaLeaf,
    /// The leaf's key usage is not that of an SVID (X509-SVID 4.3 and 5.2).
    #[error("wrong key usage in the leaf: {0}")]
    KeyUsage(&'static str),
    /// The extended key usage is present and not that of an SVID (X509-SVID 4.4).
    #[error("wrong extended key usage: {0}")]
    ExtendedKeyUsage(&'static str),
    /// No bundle is configured for the trust domain of the ID.
    #[error("no trust bundle is configured for the trust domain {0}")]
    UnknownTrustDomain(TrustDomain),
    /// No path from the leaf to an authority in the bundle of its own trust domain.
    #[error("the chain does not lead to an authority in the bundle of {trust_domain}: {why}")]
    UntrustedChain {
        /// The domain whose bundle was asked.
        trust_domain: TrustDomain,
        /// What exactly failed.
        why: &'static str,
    },
    /// A certificate of the chain is past its end.
    #[error("a certificate of the chain expired (not after Unix time {not_after})")]
    Expired {
        /// Its end, in seconds since the epoch.
        not_after: i64,
    },
    /// A certificate of the chain has not begun.
    #[error("a certificate of the chain is not valid yet (not before Unix time {not_before})")]
    NotYetValid {
        /// Its beginning, in seconds since the epoch.
        not_before: i64,
    },
    /// The chain has name constraints that it breaks, or that cannot be judged (those on URIs and on directory names).
    #[error("the chain has name constraints that are broken or cannot be judged (URI constraints never can)")]
    NameConstraints,
    /// A certificate between leaf and authority may not sign (X509-SVID 4.1, 4.3, 3.2).
    #[error("an intermediate certificate is not fit to sign: {0}")]
    BadIntermediate(&'static str),
    /// A server showed a good SVID of somebody else.
    #[error("the server is {found}, not {expected}")]
    WrongServerId {
        /// Who was expected.
        expected: SpiffeId,
        /// Who it is.
        found: SpiffeId,
    },
}

impl SvidError {
    /// A stable code for logs, metrics and tests.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::NoUriSan => "no_uri_san",
            Self::SeveralUriSans(_) => "two_uri_sans",
            Self::BadSpiffeId { .. } => "bad_spiffe_id",
            Self::RootPath(_) => "root_path",
            Self::CaLeaf => "ca_leaf",
            Self::KeyUsage(_) => "key_usage",
            Self::ExtendedKeyUsage(_) => "eku",
            Self::UnknownTrustDomain(_) => "unknown_trust_domain",
            Self::UntrustedChain { .. } => "untrusted_chain",
            Self::Expired { .. } => "expired",
            Self::NotYetValid { .. } => "not_yet_valid",
            Self::NameConstraints => "name_constraints",
            Self::BadIntermediate(_) => "bad_intermediate",
            Self::WrongServerId { .. } => "wrong_server_id",
        }
    }
}

/// A refusal as it travels through rustls: the error and the ID that was claimed.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) error: SvidError,
    pub(crate) claimed: Option<SpiffeId>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for rustls::Error {
    fn from(refusal: Refusal) -> Self {
        let other = rustls::OtherError(Arc::new(refusal));
        rustls::CertificateError::Other(other).into()
    }
}

/// Why a handshake failed.
#[derive(Debug)]
pub struct HandshakeError {
    kind: Kind,
    claimed: Option<SpiffeId>,
}

#[derive(Debug)]
enum Kind {
    NoCertificate,
    Svid(SvidError),
    Tls(String),
    Io(io::Error),
}

impl HandshakeError {
    /// A stable code: those of [`SvidError::reason`], `no_certificate`, `tls` (the peer does not speak our TLS) and `io` (the
    /// connection broke).
    pub fn reason(&self) -> &'static str {
        match &self.kind {
            Kind::NoCertificate => "no_certificate",
            Kind::Svid(error) => error.reason(),
            Kind::Tls(_) => "tls",
            Kind::Io(_) => "io",
        }
    }

    /// The ID that the refused certificate carried. **Unverified**: anyone can write any ID into a certificate; it is good
    /// for a log line and for nothing else.
    pub fn claimed_spiffe_id_unverified(&self) -> Option<&SpiffeId> {
        self.claimed.as_ref()
    }

    /// The refusal, if it was the peer's certificate that was refused.
    pub fn svid_error(&self) -> Option<&SvidError> {
        match &self.kind {
            Kind::Svid(error) => Some(error),
            _ => None,
        }
    }

    pub(crate) fn svid(refusal: &Refusal) -> Self {
        Self { kind: Kind::Svid(refusal.error.clone()), claimed: refusal.claimed.clone() }
    }

    pub(crate) fn tls(error: &rustls::Error) -> Self {
        Self::from(io::Error::other(error.clone()))
    }
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        let inner = error.get_ref().and_then(|e| e.downcast_ref());
        let (kind, claimed) = match inner {
            None => (Kind::Io(error), None),
            Some(rustls::Error::NoCertificatesPresented) => (Kind::NoCertificate, None),
            Some(tls) => match refusal_in(tls) {
                Some(refusal) => (Kind::Svid(refusal.error.clone()), refusal.claimed.clone()),
                None => (Kind::Tls(tame(&tls.to_string())), None),
            },
        };
        Self { kind, claimed }
    }
}

fn refusal_in(error: &rustls::Error) -> Option<&Refusal> {
    match error {
        rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other)) => other.0.downcast_ref(),
        _ => None,
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::NoCertificate => f.write_str("the client showed no certificate"),
            Kind::Svid(error) => error.fmt(f),
            Kind::Tls(text) => write!(f, "TLS failed: {text}"),
            Kind::Io(error) => write!(f, "the connection broke during the handshake: {error}"),
        }
    }
}

impl std::error::Error for HandshakeError {}

/// What a server's TLS alert says of our own certificate, if the error holds one. In TLS 1.3 such an alert arrives after the
/// handshake, inside the error of the first read, wherever a client library has put that.
pub fn explain_alert(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    use rustls::AlertDescription as Alert;
    let mut next = Some(error);
    while let Some(error) = next {
        // An I/O error hides what it wraps from `source`.
        let wrapped = error.downcast_ref::<io::Error>().and_then(|e| e.get_ref()).and_then(|e| e.downcast_ref());
        if let Some(rustls::Error::AlertReceived(alert)) = wrapped.or_else(|| error.downcast_ref()) {
            return match alert {
                Alert::UnknownCA => Some("the server does not trust the authority of our certificate"),
                Alert::CertificateExpired => Some("the server says that our certificate is not valid at this time"),
                Alert::CertificateRequired => Some("the server demands a client certificate"),
                Alert::BadCertificate | Alert::CertificateUnknown => {
                    Some("the server does not take our certificate for a proper X.509-SVID")
                }
                Alert::NoApplicationProtocol => Some("the server does not speak our protocol"),
                Alert::ProtocolVersion => Some("the server does not speak our version of TLS"),
                _ => None,
            };
        }
        next = error.source();
    }
    None
}

/// Why the own identity or a trust bundle could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is larger than its limit.
    #[error("{path} is larger than {limit} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// The certificate file is not a PEM certificate chain. Here and below, what a Workload API gave has its address for a path.
    #[error("{path} holds no usable certificate: {why}")]
    BadCertificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The key file is not a private key that can be used.
    #[error("{path} holds no usable private key: {why}")]
    BadKey {
        /// The file.
        path: PathBuf,
        /// What is wrong; never a part of the key.
        why: String,
    },
    /// Certificate and key are not a pair: typically the two files are being replaced right now.
    #[error("the key in {key} does not belong to the certificate in {cert}")]
    KeyMismatch {
        /// The certificate file.
        cert: PathBuf,
        /// The key file.
        key: PathBuf,
    },
    /// The own certificate is not a proper SVID.
    #[error("the certificate in {path} is not a usable X.509-SVID: {source}")]
    NotAnSvid {
        /// The certificate file.
        path: PathBuf,
        /// The rule that it breaks.
        source: SvidError,
    },
    /// The own SVID is of another trust domain than configured.
    #[error("the SVID in {path} is {found}, which is not in the trust domain {expected}")]
    ForeignSvid {
        /// The certificate file.
        path: PathBuf,
        /// Its ID.
        found: SpiffeId,
        /// The configured domain.
        expected: TrustDomain,
    },
    /// The Workload API gives nothing, or nothing newer.
    #[error("the Workload API at {address}: {why}")]
    WorkloadApi {
        /// Its address.
        address: String,
        /// What is wrong.
        why: String,
    },
    /// The Workload API refused us after it had given something: that must not be used any more.
    #[error("the Workload API at {address} withdrew what it had given: {why}")]
    Withdrawn {
        /// Its address.
        address: String,
        /// What it said.
        why: String,
    },
    /// A domain's bundle is not among those that the Workload API gives, or not any more.
    #[error("the Workload API at {address} gives no bundle of {trust_domain}")]
    NotGiven {
        /// Its address.
        address: String,
        /// Whose bundle.
        trust_domain: TrustDomain,
    },
    /// A bundle endpoint gives nothing, or nothing newer.
    #[error("the bundle of {trust_domain} from {url}: {why}")]
    Endpoint {
        /// Whose bundle.
        trust_domain: TrustDomain,
        /// Where it is asked for.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// A bundle is to come from the Workload API, and there is none.
    #[error("the bundle of {0} is to come from the Workload API, but the own SVID does not come from one")]
    NoWorkloadApi(TrustDomain),
    /// No bundle is configured for the own trust domain.
    #[error("no trust bundle is configured for the own trust domain {0}")]
    NoOwnBundle(TrustDomain),
    /// A bundle file cannot be understood.
    #[error("the trust bundle of {trust_domain} in {path} is not usable: {source}")]
    BadBundle {
        /// Whose bundle.
        trust_domain: TrustDomain,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: BundleError,
    },
}

impl IdentityError {
    /// A file is not there.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// It comes from a source that is asked in the background, so it may mend itself.
    pub(crate) fn is_remote(&self) -> bool {
        matches!(
            self,
            Self::WorkloadApi { .. } | Self::Withdrawn { .. } | Self::NotGiven { .. } | Self::Endpoint { .. }
        )
    }

    /// What was in use is so no longer.
    pub(crate) fn is_withdrawal(&self) -> bool {
        matches!(self, Self::Withdrawn { .. } | Self::NotGiven { .. })
    }
}

/// Text from outside: cut, and without control characters, which could play tricks on a terminal or a log.
pub(crate) fn tame(text: &str) -> String {
    let short = &text[..text.floor_char_boundary(PEER_TEXT_BYTES_MAX)];
    let tamed = short.chars().map(|c| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    });
    tamed.collect()
}
