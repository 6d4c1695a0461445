//! The own identity and the trust bundles, following their sources.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::chain::{self, Bundles, Usage};
use crate::peer::Peer;
use crate::snapshot::{Absent, Notes, Snapshot, announce, read_bundle};
use crate::svid::OwnSvid;
use crate::tls::Acceptor;
use crate::{
    BundleSource, IdentityConfig, IdentityError, IdentityStatus, SpiffeId, SvidError, SvidSource, TrustDomain, clock,
    watch as watcher,
};

/// The own SVID, the trust bundles, and everything that is decided by them.
#[derive(Debug)]
pub struct Identity {
    snapshot: ArcSwap<Snapshot>,
    /// Held while a new snapshot is made, so that two reloads do not undo each other. Never across an await.
    config: Mutex<IdentityConfig>,
    generations: watch::Sender<u64>,
}

/// What a reload found.
#[derive(Debug, Default)]
pub struct Reload {
    /// A new SVID or bundle is in use.
    pub changed: bool,
    /// Files that could not be taken; what was in use before stays in use for them.
    pub errors: Vec<IdentityError>,
}

impl Identity {
    /// Reads the SVID and all bundles. Blocks on the file system, briefly.
    ///
    /// # Errors
    /// An [`IdentityError`] naming the first file that is missing or not as it must be. An expired SVID, one that the own
    /// bundle does not verify, and an empty bundle are no errors here: [`status`](Self::status) tells them, and they mend
    /// themselves when the files change.
    pub fn load(config: IdentityConfig) -> Result<Arc<Self>, IdentityError> {
        Self::load_with(config, Absent::Refused)
    }

    /// The same for a server that has work to do even while nobody can be let in: files that are not there are waited for,
    /// which [`status`](Self::status) tells. Files that are there and wrong are errors all the same.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_or_await(config: IdentityConfig) -> Result<Arc<Self>, IdentityError> {
        Self::load_with(config, Absent::Awaited)
    }

    fn load_with(config: IdentityConfig, absent: Absent) -> Result<Arc<Self>, IdentityError> {
        let snapshot = Snapshot::load(&config, 1, clock::now_unix_ms(), absent)?;
        Ok(Arc::new(Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            config: Mutex::new(config),
            generations: watch::Sender::new(1),
        }))
    }

    /// An identity from three files, for clients: the trust domain is that of the certificate's own ID.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_files(cert: &Path, key: &Path, bundle: &Path) -> Result<Arc<Self>, IdentityError> {
        let svid = SvidSource::Files { cert: cert.into(), key: key.into() };
        let trust_domain = OwnSvid::load(&svid)?.spiffe_id.trust_domain().clone();
        let bundles = BTreeMap::from([(trust_domain.clone(), BundleSource::File(bundle.into()))]);
        Self::load(IdentityConfig { trust_domain, svid, bundles })
    }

    /// The own SPIFFE ID, at this moment.
    pub fn spiffe_id(&self) -> SpiffeId {
        self.snapshot.load().spiffe_id()
    }

    /// How it is doing. Verifies the own SVID, so it costs about as much as one handshake's certificate check.
    pub fn status(&self) -> IdentityStatus {
        self.snapshot.load().status(clock::now_unix_ms())
    }

    /// The present generation: it rises whenever another SVID or bundle comes into use.
    pub fn generation(&self) -> u64 {
        self.snapshot.load().generation
    }

    /// Tells of every new generation.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.generations.subscribe()
    }

    /// The server side of mTLS, always by the newest state.
    pub fn acceptor(self: &Arc<Self>) -> Acceptor {
        Acceptor::new(Arc::clone(self))
    }

    /// Follows the files from now on. The task ends when it is aborted or the identity is dropped.
    ///
    /// Needs a Tokio runtime.
    pub fn spawn_watch(self: &Arc<Self>) -> JoinHandle<()> {
        watcher::spawn(self)
    }

    /// Would this peer still be let in? To be asked on every request of a kept connection.
    ///
    /// Costs two comparisons while the bundle of its domain is the same and nothing of its path expired; else its chain is
    /// verified again, by the present bundle of its own trust domain only.
    ///
    /// # Errors
    /// The [`SvidError`] that a new handshake would end with.
    pub fn recheck(&self, peer: &Peer, now_unix_ms: i64) -> Result<(), SvidError> {
        if now_unix_ms > peer.not_after_unix_ms {
            return Err(SvidError::Expired { not_after: peer.not_after_unix_ms.div_euclid(1000) });
        }
        let snapshot = self.snapshot.load();
        let present = snapshot.bundles.get(peer.spiffe_id.trust_domain());
        if present.is_some_and(|bundle| peer.proved(bundle.generation, now_unix_ms)) {
            return Ok(());
        }
        let verified = chain::verify(peer.chain(), &snapshot.bundles, now_unix_ms, Usage::Client)
            .map_err(|refusal| refusal.error)?;
        peer.proved_again(&verified);
        Ok(())
    }

    /// Reads all files again and takes what is new and good, each by itself: a bad file keeps what was in use.
    /// Blocks on the file system, briefly.
    pub fn reload(&self) -> Reload {
        let config = self.lock();
        let old = self.snapshot.load_full();
        let mut next = Next::after(&old);
        next.take_svid(&config);
        for (domain, source) in &config.bundles {
            next.take_bundle(domain, source);
        }
        next.settle(self, &old)
    }

    /// Replaces the configuration. Refused whole if anything of it cannot be loaded.
    ///
    /// # Errors
    /// As [`load`](Self::load); then nothing has changed.
    pub fn reconfigure(&self, config: IdentityConfig) -> Result<(), IdentityError> {
        let mut held = self.lock();
        let generation = self.generation() + 1;
        let snapshot = Snapshot::load(&config, generation, clock::now_unix_ms(), Absent::Refused)?;
        *held = config;
        self.put(snapshot);
        Ok(())
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, IdentityConfig> {
        // The configuration is only ever replaced whole, so a panic elsewhere cannot have left half of one.
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, snapshot: Snapshot) {
        let generation = snapshot.generation;
        self.snapshot.store(Arc::new(snapshot));
        self.generations.send_if_modified(|known| {
            let newer = *known != generation;
            *known = generation;
            newer
        });
    }
}

/// The state that a reload is building.
struct Next {
    generation: u64,
    now_unix_ms: i64,
    svid: Option<Arc<OwnSvid>>,
    trust_domain: TrustDomain,
    bundles: Bundles,
    notes: Notes,
    found: Reload,
}

impl Next {
    fn after(old: &Snapshot) -> Self {
        Self {
            generation: old.generation + 1,
            now_unix_ms: clock::now_unix_ms(),
            svid: old.svid.clone(),
            trust_domain: old.trust_domain.clone(),
            bundles: (*old.bundles).clone(),
            notes: Notes::default(),
            found: Reload::default(),
        }
    }

    fn take_svid(&mut self, config: &IdentityConfig) {
        let loaded = OwnSvid::load(&config.svid)
            .and_then(|svid| svid.check_domain(&config.svid, &config.trust_domain).map(|()| svid));
        match loaded {
            Ok(svid) if self.svid.as_ref().is_some_and(|used| used.is_same(&svid)) => {}
            Ok(svid) => {
                tracing::info!(spiffe_id = %svid.spiffe_id, not_after_unix_ms = svid.not_after_ms, "own SVID in use");
                self.svid = Some(Arc::new(svid));
                self.found.changed = true;
            }
            Err(error) => {
                self.notes.svid = Some(error.to_string());
                self.found.errors.push(error);
            }
        }
    }

    fn take_bundle(&mut self, domain: &TrustDomain, source: &BundleSource) {
        let in_use = self.bundles.get(domain);
        match read_bundle(domain, source, in_use.map(|b| &**b), self.generation, self.now_unix_ms) {
            Ok(None) => {}
            Ok(Some(bundle)) => {
                announce(domain, &bundle.bundle);
                self.bundles.insert(domain.clone(), Arc::new(bundle));
                self.found.changed = true;
            }
            Err(error) => {
                self.notes.domains.insert(domain.clone(), error.to_string());
                self.found.errors.push(error);
            }
        }
    }

    /// Puts the result into use. Nothing is logged twice while the same error stays.
    fn settle(self, identity: &Identity, old: &Snapshot) -> Reload {
        let news = self.notes != old.notes;
        if news {
            for error in &self.found.errors {
                tracing::error!("{error}; what was in use before stays in use");
            }
        }
        if !self.found.changed && !news {
            return self.found;
        }
        let generation = if self.found.changed { self.generation } else { old.generation };
        let bundles = Arc::new(self.bundles);
        identity.put(Snapshot {
            generation,
            svid: self.svid,
            trust_domain: self.trust_domain,
            bundles,
            notes: self.notes,
        });
        self.found
    }
}
