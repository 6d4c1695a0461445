//! From a presented chain to a verified identity, in the order that X509-SVID 5 and Trust Domain and Bundle 4 demand: read the
//! leaf, take its ID, choose the bundle of that ID's trust domain, validate the path with this bundle alone, then the leaf rules.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, TrustAnchor};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use crate::bundle::{DomainBundle, TrustBundle};
use crate::clock::unix_time;
use crate::error::Refusal;
use crate::facts::Facts;
use crate::limits::CHAIN_CERTS_MAX;
use crate::tls::provider;
use crate::{SpiffeId, SvidError, TrustDomain};

/// One bundle per trust domain, never pooled.
pub(crate) type Bundles = BTreeMap<TrustDomain, Arc<DomainBundle>>;

/// Which side the peer plays.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Usage {
    Client,
    Server,
}

/// A chain that held.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) spiffe_id: SpiffeId,
    /// End of the leaf, in milliseconds since the epoch.
    pub(crate) not_after_ms: i64,
    /// When every certificate of the path, the authority among them, is valid. In milliseconds since the epoch.
    pub(crate) window: Window,
    /// The generation of the bundle that was asked.
    pub(crate) generation: u64,
}

/// A span of validity, in milliseconds since the epoch, both ends inclusive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) from: i64,
    pub(crate) until: i64,
}

impl Window {
    pub(crate) fn contains(self, unix_ms: i64) -> bool {
        (self.from..=self.until).contains(&unix_ms)
    }

    pub(crate) fn of(facts: &Facts) -> Self {
        Self { from: facts.not_before.saturating_mul(1000), until: facts.not_after.saturating_mul(1000) }
    }

    fn and(self, other: Self) -> Self {
        Self { from: self.from.max(other.from), until: self.until.min(other.until) }
    }
}

/// Verifies a chain, leaf first.
pub(crate) fn verify(
    chain: &[CertificateDer<'_>],
    bundles: &Bundles,
    now_unix_ms: i64,
    usage: Usage,
) -> Result<Verified, Refusal> {
    let unclaimed = |error| Refusal { error, claimed: None };
    let (leaf, rest) = chain.split_first().ok_or_else(|| unclaimed(SvidError::Malformed("the chain is empty")))?;
    if chain.len() > CHAIN_CERTS_MAX {
        return Err(unclaimed(SvidError::Malformed("the chain has too many certificates")));
    }
    let facts = Facts::read(leaf).map_err(unclaimed)?;
    let id = facts.spiffe_id().map_err(unclaimed)?;
    verify_as(leaf, rest, &facts, &id, bundles, now_unix_ms, usage)
        .map_err(|error| Refusal { error, claimed: Some(id) })
}

fn verify_as(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    facts: &Facts,
    id: &SpiffeId,
    bundles: &Bundles,
    now_unix_ms: i64,
    usage: Usage,
) -> Result<Verified, SvidError> {
    let domain = id.trust_domain();
    let Some(bundle) = bundles.get(domain) else {
        return Err(SvidError::UnknownTrustDomain(domain.clone()));
    };
    let path = Path { bundle: &bundle.bundle, domain, now_unix_ms, usage };
    let issuers = path.validate(leaf, intermediates)?;
    if let Some(broken) = facts.leaf_violations(id).into_iter().next() {
        return Err(broken);
    }
    Ok(Verified {
        spiffe_id: id.clone(),
        not_after_ms: facts.not_after.saturating_mul(1000),
        window: Window::of(facts).and(issuers),
        generation: bundle.generation,
    })
}

/// One validation of a path against one bundle.
struct Path<'a> {
    bundle: &'a TrustBundle,
    domain: &'a TrustDomain,
    now_unix_ms: i64,
    usage: Usage,
}

impl Path<'_> {
    /// Returns when all issuers of the path are valid.
    fn validate(&self, leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> Result<Window, SvidError> {
        let anchors = self.anchors();
        if anchors.is_empty() {
            return Err(self.untrusted("the bundle holds no authority that is valid now"));
        }
        let leaf = EndEntityCert::try_from(leaf).map_err(|e| self.explain(&e))?;
        let usage = match self.usage {
            Usage::Client => KeyUsage::client_auth(),
            Usage::Server => KeyUsage::server_auth(),
        };
        // What the check of a candidate path found; webpki's error type cannot carry it.
        let found: RefCell<Result<Option<Window>, SvidError>> = RefCell::new(Ok(None));
        let check = |path: &VerifiedPath<'_>| {
            let checked = self.check_issuers(path);
            let refused = checked.is_err();
            *found.borrow_mut() = checked.map(Some);
            if refused { Err(webpki::Error::UnknownIssuer) } else { Ok(()) }
        };
        let result = leaf.verify_for_usage(
            provider().signature_verification_algorithms.all,
            &anchors,
            intermediates,
            unix_time(self.now_unix_ms),
            usage,
            None,
            Some(&check),
        );
        match (result, found.into_inner()) {
            (Ok(_), Ok(Some(window))) => Ok(window),
            (Ok(_), _) => Err(self.untrusted("the path was not checked")),
            (Err(_), Err(ours)) => Err(ours),
            (Err(error), Ok(_)) => Err(self.explain(&error)),
        }
    }

    /// webpki keeps no validity for authorities, so those outside theirs are left out here.
    fn anchors(&self) -> Cow<'_, [TrustAnchor<'static>]> {
        let (anchors, windows) = (self.bundle.anchors(), self.bundle.windows());
        let valid = |window: &Window| window.contains(self.now_unix_ms);
        if windows.iter().all(valid) {
            return Cow::Borrowed(anchors);
        }
        let pairs = anchors.iter().zip(windows);
        Cow::Owned(pairs.filter(|(_, w)| valid(w)).map(|(anchor, _)| anchor.clone()).collect())
    }

    /// The issuers of a path that webpki found good: what webpki does not look at.
    fn check_issuers(&self, path: &VerifiedPath<'_>) -> Result<Window, SvidError> {
        let authority = self.bundle.authority_of(path.anchor());
        let Some((mut window, constrained)) = authority else {
            return Err(self.untrusted("its authority left the bundle"));
        };
        if constrained {
            return Err(SvidError::NameConstraints);
        }
        for intermediate in path.intermediate_certificates() {
            let facts = Facts::read(&intermediate.der())?;
            if let Some(why) = facts.intermediate_violation() {
                return Err(SvidError::BadIntermediate(why));
            }
            if facts.uri_name_constraints {
                return Err(SvidError::NameConstraints);
            }
            window = window.and(Window::of(&facts));
        }
        Ok(window)
    }

    fn explain(&self, error: &webpki::Error) -> SvidError {
        use webpki::Error as E;
        let seconds = |time: &rustls::pki_types::UnixTime| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        match error {
            E::CertExpired { not_after, .. } => SvidError::Expired { not_after: seconds(not_after) },
            E::CertNotValidYet { not_before, .. } => SvidError::NotYetValid { not_before: seconds(not_before) },
            E::CaUsedAsEndEntity => SvidError::CaLeaf,
            E::EndEntityUsedAsCa => SvidError::BadIntermediate("it is not a certificate authority"),
            E::NameConstraintViolation | E::MalformedNameConstraint => SvidError::NameConstraints,
            E::RequiredEkuNotFoundContext(_) | E::EmptyEkuExtension => {
                SvidError::ExtendedKeyUsage("it does not allow this side of TLS")
            }
            E::UnknownIssuer => self.untrusted("no authority there issued it"),
            E::InvalidSignatureForPublicKey => self.untrusted("a signature is wrong"),
            E::PathLenConstraintViolated | E::MaximumPathDepthExceeded => self.untrusted("the path is too long"),
            E::UnsupportedCriticalExtension => self.untrusted("a critical extension is not known"),
            E::BadDer | E::BadDerTime | E::InvalidCertValidity | E::TrailingData(_) | E::UnsupportedCertVersion => {
                SvidError::Malformed("a certificate of the chain is not proper X.509")
            }
            _ => self.untrusted("the path cannot be validated"),
        }
    }

    fn untrusted(&self, why: &'static str) -> SvidError {
        SvidError::UntrustedChain { trust_domain: self.domain.clone(), why }
    }
}
