//! Everything that a handshake needs, as of one moment; replaced whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bundle::{BundleError, DomainBundle, TrustBundle};
use crate::chain::Bundles;
use crate::limits::BUNDLE_FILE_BYTES_MAX;
use crate::svid::OwnSvid;
use crate::{BundleSource, DomainStatus, IdentityConfig, IdentityError, IdentityStatus, SpiffeId, TrustDomain, files};

/// One consistent state.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) generation: u64,
    /// The own one; `None` until its files are there for the first time.
    pub(crate) svid: Option<Arc<OwnSvid>>,
    pub(crate) trust_domain: TrustDomain,
    pub(crate) bundles: Arc<Bundles>,
    pub(crate) notes: Notes,
}

/// Why newer files were not taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Notes {
    pub(crate) svid: Option<String>,
    pub(crate) domains: BTreeMap<TrustDomain, String>,
}

/// What a file means that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// An error, like any other.
    Refused,
    /// It is waited for: without the SVID nobody is let in, without a bundle nobody of its domain.
    Awaited,
}

impl Snapshot {
    /// Reads everything; any error is an error of the whole, but for files that are `absent` and awaited.
    pub(crate) fn load(
        config: &IdentityConfig,
        generation: u64,
        now_unix_ms: i64,
        absent: Absent,
    ) -> Result<Self, IdentityError> {
        if !config.bundles.contains_key(&config.trust_domain) {
            return Err(IdentityError::NoOwnBundle(config.trust_domain.clone()));
        }
        let mut notes = Notes::default();
        let is_awaited = |error: &IdentityError| absent == Absent::Awaited && error.is_absent();
        let svid = match OwnSvid::load(&config.svid) {
            Ok(svid) => {
                svid.check_domain(&config.svid, &config.trust_domain)?;
                Some(Arc::new(svid))
            }
            Err(error) if is_awaited(&error) => {
                tracing::error!("{error}: until it is there, nobody is let in");
                notes.svid = Some(error.to_string());
                None
            }
            Err(error) => return Err(error),
        };
        let mut bundles = Bundles::new();
        for (domain, source) in &config.bundles {
            let bundle = match read_bundle(domain, source, None, generation, now_unix_ms) {
                Ok(bundle) => bundle,
                Err(error) if is_awaited(&error) => {
                    tracing::error!(trust_domain = %domain, "{error}: until it is there, nobody of this domain is let in");
                    notes.domains.insert(domain.clone(), error.to_string());
                    Some(DomainBundle { bundle: TrustBundle::default(), generation, content: Vec::new() })
                }
                Err(error) => return Err(error),
            };
            if let Some(bundle) = bundle {
                announce(domain, &bundle.bundle);
                bundles.insert(domain.clone(), Arc::new(bundle));
            }
        }
        let trust_domain = config.trust_domain.clone();
        Ok(Self { generation, svid, trust_domain, bundles: Arc::new(bundles), notes })
    }

    /// The own SPIFFE ID; before the first SVID the one that brokers have unless told otherwise.
    pub(crate) fn spiffe_id(&self) -> SpiffeId {
        match &self.svid {
            Some(svid) => svid.spiffe_id.clone(),
            None => self.trust_domain.id("/leasehold").expect("a short path fits every trust domain"),
        }
    }

    /// The own SVID, for a handshake.
    pub(crate) fn svid(&self) -> Result<&OwnSvid, rustls::Error> {
        self.svid.as_deref().ok_or_else(|| rustls::Error::General("there is no own SVID yet".into()))
    }

    pub(crate) fn status(&self, now_unix_ms: i64) -> IdentityStatus {
        let svid_problem = match &self.svid {
            Some(svid) => svid.problem(&self.bundles, now_unix_ms),
            None => Some(self.notes.svid.clone().unwrap_or_else(|| "its files were not there yet".into())),
        };
        let not_after = self.svid.as_ref().map_or(0, |svid| svid.not_after_ms);
        IdentityStatus {
            spiffe_id: self.spiffe_id(),
            svid_not_after_unix_ms: not_after,
            svid_ok: svid_problem.is_none(),
            svid_problem,
            svid_last_error: self.notes.svid.clone(),
            domains: self.bundles.iter().map(|(d, b)| self.domain_status(d, &b.bundle)).collect(),
            warnings: self.svid.as_ref().map(|svid| svid.warnings.clone()).unwrap_or_default(),
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
