//! Everything that a handshake needs, as of one moment; replaced whole.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use crate::bundle::TrustBundle;
use crate::chain::Bundles;
use crate::next::Next;
use crate::sources::Inbox;
use crate::svid::OwnSvid;
use crate::{DomainStatus, IdentityConfig, IdentityError, IdentityStatus, SpiffeId, TrustDomain};

/// One consistent state.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) generation: u64,
    /// The own one; `None` until it is there for the first time, and when it was withdrawn.
    pub(crate) svid: Option<Arc<OwnSvid>>,
    pub(crate) trust_domain: TrustDomain,
    pub(crate) bundles: Arc<Bundles>,
    pub(crate) notes: Notes,
}

/// Why nothing newer was taken.
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
    /// Asks every source; any error is an error of the whole, but for files that are `absent` and awaited, and for sources that
    /// are asked in the background.
    pub(crate) fn load(
        config: &IdentityConfig,
        inbox: &Inbox,
        old: Option<&Self>,
        absent: Absent,
    ) -> Result<Self, IdentityError> {
        config.check()?;
        let mut next = Next::of(config, old);
        next.take(config, inbox);
        next.changed = true;
        for error in mem::take(&mut next.errors) {
            if error.is_remote() {
                tracing::info!("{error}");
            } else if absent == Absent::Awaited && error.is_absent() {
                tracing::error!("{error}: until it is there, nobody is let in by it");
            } else {
                return Err(error);
            }
        }
        Ok(next.into_snapshot(0))
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
            None => Some(self.notes.svid.clone().unwrap_or_else(|| "it is not there yet".into())),
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
