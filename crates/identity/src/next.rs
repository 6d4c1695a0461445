//! The state that is being made from what the sources say.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::bundle::{DomainBundle, TrustBundle};
use crate::chain::Bundles;
use crate::snapshot::{Notes, Snapshot, announce};
use crate::sources::{Inbox, Told, Word};
use crate::svid::OwnSvid;
use crate::{BundleSource, IdentityConfig, IdentityError, TrustDomain, clock};

/// The next snapshot, while it grows.
pub(crate) struct Next {
    pub(crate) changed: bool,
    pub(crate) errors: Vec<IdentityError>,
    generation: u64,
    now_unix_ms: i64,
    svid: Option<Arc<OwnSvid>>,
    trust_domain: TrustDomain,
    bundles: Bundles,
    notes: Notes,
}

impl Next {
    /// It begins with what is in use.
    pub(crate) fn after(old: &Snapshot) -> Self {
        Self {
            svid: old.svid.clone(),
            bundles: (*old.bundles).clone(),
            ..Self::empty(old.trust_domain.clone(), old.generation + 1)
        }
    }

    /// It begins with nothing, for a new configuration. Sources that are asked in the background may have no word yet: what was
    /// in use before for the same purpose serves until they do.
    pub(crate) fn of(config: &IdentityConfig, old: Option<&Snapshot>) -> Self {
        let mut next = Self::empty(config.trust_domain.clone(), old.map_or(1, |old| old.generation + 1));
        let Some(old) = old else { return next };
        if config.workload_api().is_some() && old.trust_domain == config.trust_domain {
            next.svid.clone_from(&old.svid);
        }
        for (domain, source) in &config.bundles {
            if let (false, Some(bundle)) = (source.is_file(), old.bundles.get(domain)) {
                next.bundles.insert(domain.clone(), Arc::clone(bundle));
            }
        }
        next
    }

    fn empty(trust_domain: TrustDomain, generation: u64) -> Self {
        Self {
            changed: false,
            errors: Vec::new(),
            generation,
            now_unix_ms: clock::now_unix_ms(),
            svid: None,
            trust_domain,
            bundles: Bundles::new(),
            notes: Notes::default(),
        }
    }

    /// Takes what is new and good, each by itself.
    pub(crate) fn take(&mut self, config: &IdentityConfig, inbox: &Inbox) {
        self.take_svid(inbox.svid(config));
        for (domain, source) in &config.bundles {
            self.take_bundle(config, inbox, domain, source);
        }
    }

    /// Nothing is logged twice while the same error stays.
    pub(crate) fn log_news(&self, old: &Notes) {
        if self.notes == *old {
            return;
        }
        let errors: BTreeSet<String> = self.errors.iter().map(explain).collect();
        if errors.is_empty() {
            tracing::info!("all sources of SVID and bundles are good again");
        }
        for error in errors {
            tracing::error!("{error}");
        }
    }

    pub(crate) fn has_news(&self, old: &Notes) -> bool {
        self.notes != *old
    }

    /// The result. Its generation is a new one only if something that is in use changed.
    pub(crate) fn into_snapshot(self, old_generation: u64) -> Snapshot {
        Snapshot {
            generation: if self.changed { self.generation } else { old_generation },
            svid: self.svid,
            trust_domain: self.trust_domain,
            bundles: Arc::new(self.bundles),
            notes: self.notes,
        }
    }

    fn take_svid(&mut self, told: Told<Arc<OwnSvid>>) {
        match told.word {
            Word::Use(svid) if self.svid.as_ref().is_some_and(|used| used.is_same(&svid)) => {}
            Word::Use(svid) => {
                tracing::info!(spiffe_id = %svid.spiffe_id, not_after_unix_ms = svid.not_after_ms, "own SVID in use");
                self.svid = Some(svid);
                self.changed = true;
            }
            Word::Keep => {}
            Word::Drop => self.changed |= self.svid.take().is_some(),
        }
        if let Some(error) = told.error {
            self.notes.svid = Some(error.to_string());
            self.errors.push(error);
        }
    }

    fn take_bundle(&mut self, config: &IdentityConfig, inbox: &Inbox, domain: &TrustDomain, source: &BundleSource) {
        let told = inbox.bundle(config, domain, source);
        let in_use = self.bundles.get(domain);
        let read = match told.word {
            Word::Use(content) if in_use.is_some_and(|used| used.content == content.bytes) => Ok(None),
            Word::Use(content) => content
                .parse(domain, in_use.map(|used| &used.bundle), self.now_unix_ms)
                .map(|bundle| Some((bundle, content.bytes))),
            Word::Keep if in_use.is_some() => Ok(None),
            Word::Drop if in_use.is_some_and(|used| used.bundle.is_empty()) => Ok(None),
            Word::Keep | Word::Drop => Ok(Some((TrustBundle::default(), Vec::new()))),
        };
        let (read, error) = match read {
            Ok(read) => (read, told.error),
            // A domain is always there, if only with an empty bundle.
            Err(error) if in_use.is_none() => (Some((TrustBundle::default(), Vec::new())), Some(error)),
            Err(error) => (None, Some(error)),
        };
        if let Some((bundle, content)) = read {
            let awaited = error.as_ref().is_some_and(|error| !error.is_withdrawal());
            if !awaited {
                announce(domain, &bundle);
            }
            let generation = self.generation;
            self.bundles.insert(domain.clone(), Arc::new(DomainBundle { bundle, generation, content }));
            self.changed = true;
        }
        if let Some(error) = error {
            self.notes.domains.insert(domain.clone(), error.to_string());
            self.errors.push(error);
        }
    }
}

fn explain(error: &IdentityError) -> String {
    match error.is_withdrawal() {
        true => format!("{error}; what it gave before is not used any more"),
        false => format!("{error}; what was in use before stays in use"),
    }
}
