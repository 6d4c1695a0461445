//! Everything that a handshake needs, as of one moment; replaced whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bundle::{BundleError, DomainBundle, TrustBundle};
use crate::chain::Bundles;
use crate::limits::BUNDLE_FILE_BYTES_MAX;
use crate::svid::OwnSvid;
use crate::{BundleSource, DomainStatus, IdentityConfig, IdentityError, IdentityStatus, TrustDomain, files};

/// One consistent state.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) generation: u64,
    pub(crate) svid: Arc<OwnSvid>,
    pub(crate) bundles: Arc<Bundles>,
    pub(crate) notes: Notes,
}

/// Why newer files were not taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Notes {
    pub(crate) svid: Option<String>,
    pub(crate) domains: BTreeMap<TrustDomain, String>,
}

impl Snapshot {
    /// Reads everything; any error is an error of the whole.
    pub(crate) fn load(config: &IdentityConfig, generation: u64, now_unix_ms: i64) -> Result<Self, IdentityError> {
        if !config.bundles.contains_key(&config.trust_domain) {
            return Err(IdentityError::NoOwnBundle(config.trust_domain.clone()));
        }
        let svid = OwnSvid::load(&config.svid)?;
        svid.check_domain(&config.svid, &config.trust_domain)?;
        let mut bundles = Bundles::new();
        for (domain, source) in &config.bundles {
            let bundle = read_bundle(domain, source, None, generation, now_unix_ms)?;
            if let Some(bundle) = bundle {
                announce(domain, &bundle.bundle);
                bundles.insert(domain.clone(), Arc::new(bundle));
            }
        }
        Ok(Self { generation, svid: Arc::new(svid), bundles: Arc::new(bundles), notes: Notes::default() })
    }

    pub(crate) fn status(&self, now_unix_ms: i64) -> IdentityStatus {
        let svid_problem = self.svid.problem(&self.bundles, now_unix_ms);
        IdentityStatus {
            spiffe_id: self.svid.spiffe_id.clone(),
            svid_not_after_unix_ms: self.svid.not_after_ms,
            svid_ok: svid_problem.is_none(),
            svid_problem,
            svid_last_error: self.notes.svid.clone(),
            domains: self.bundles.iter().map(|(d, b)| self.domain_status(d, &b.bundle)).collect(),
            warnings: self.svid.warnings.clone(),
            generation: self.generation,
        }
    }

    fn domain_status(&self, domain: &TrustDomain, bundle: &TrustBundle) -> DomainStatus {
        DomainStatus {
            trust_domain: domain.clone(),
            authorities: bundle.len(),
            earliest_not_after_unix_ms: bundle.earliest_not_after_unix_ms(),
            sequence: bundle.sequence(),
            has_uri_name_constraints: bundle.has_uri_name_constraints(),
            ignored: bundle.ignored().to_vec(),
            last_error: self.notes.domains.get(domain).cloned(),
        }
    }
}

/// Reads the bundle of a domain; `None` if it is the one in use.
pub(crate) fn read_bundle(
    domain: &TrustDomain,
    source: &BundleSource,
    in_use: Option<&DomainBundle>,
    generation: u64,
    now_unix_ms: i64,
) -> Result<Option<DomainBundle>, IdentityError> {
    let BundleSource::File(path) = source;
    let content = files::read(path, BUNDLE_FILE_BYTES_MAX)?;
    if in_use.is_some_and(|used| used.content == *content) {
        return Ok(None);
    }
    let bad = |source| IdentityError::BadBundle { trust_domain: domain.clone(), path: path.clone(), source };
    let bundle = TrustBundle::parse(&content, now_unix_ms).map_err(bad)?;
    let sequences = (bundle.sequence(), in_use.and_then(|used| used.bundle.sequence()));
    if let (Some(found), Some(in_use)) = sequences
        && found < in_use
    {
        return Err(bad(BundleError::SequenceBack { found, in_use }));
    }
    Ok(Some(DomainBundle { bundle, generation, content: content.to_vec() }))
}

/// Says loudly what an operator must know of a bundle that came into use.
pub(crate) fn announce(domain: &TrustDomain, bundle: &TrustBundle) {
    let authorities = bundle.len();
    tracing::info!(trust_domain = %domain, authorities, sequence = bundle.sequence(), "trust bundle in use");
    for line in bundle.ignored() {
        tracing::warn!(trust_domain = %domain, "trust bundle: {line}");
    }
    if bundle.is_empty() {
        tracing::error!(trust_domain = %domain, "the trust bundle is empty: every SVID of this domain is now invalid");
    }
    if bundle.has_uri_name_constraints() {
        tracing::error!(
            trust_domain = %domain,
            alarm = "uri_name_constraints",
            "an authority has name constraints on URIs, which cannot be judged: what it signs is refused (reason name_constraints)"
        );
    }
}
