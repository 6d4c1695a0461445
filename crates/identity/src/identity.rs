//! The own identity and the trust bundles, following their sources.

use std::collections::BTreeMap;
use std::mem;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::chain::{self, Usage};
use crate::endpoint::Fetched;
use crate::limits::FIRST_WORDS_LOOK_MS;
use crate::next::Next;
use crate::peer::{Peer, sha256_hex};
use crate::snapshot::{Absent, Snapshot};
use crate::sources::Inbox;
use crate::svid::OwnSvid;
use crate::tls::Acceptor;
use crate::workload::{self, Feed};
use crate::{
    BundleEndpoint, BundleSource, IdentityConfig, IdentityError, IdentityStatus, SpiffeId, SvidError, SvidSource,
    TrustDomain, WorkloadApi, clock, watch as watcher,
};

/// The own SVID, the trust bundles, and everything that is decided by them.
#[derive(Debug)]
pub struct Identity {
    snapshot: ArcSwap<Snapshot>,
    /// Held while a new snapshot is made, so that two reloads do not undo each other. Never across an await.
    config: Mutex<IdentityConfig>,
    /// Locked inside `config`, if both are.
    inbox: Mutex<Inbox>,
    generations: watch::Sender<u64>,
}

/// What a reload found.
#[derive(Debug, Default)]
pub struct Reload {
    /// A new SVID or bundle is in use.
    pub changed: bool,
    /// What could not be taken; what was in use before stays in use for it, unless it was withdrawn.
    pub errors: Vec<IdentityError>,
}

impl Identity {
    /// Reads the SVID and all bundles. Blocks on the file system, briefly. What comes from a Workload API is not there yet: it
    /// comes while [`spawn_watch`](Self::spawn_watch) runs.
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
        Self::load_from(config, Inbox::default(), absent)
    }

    fn load_from(config: IdentityConfig, inbox: Inbox, absent: Absent) -> Result<Arc<Self>, IdentityError> {
        let snapshot = Snapshot::load(&config, &inbox, None, absent)?;
        Ok(Arc::new(Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            config: Mutex::new(config),
            inbox: Mutex::new(inbox),
            generations: watch::Sender::new(1),
        }))
    }

    /// An identity from three files, for clients: the trust domain is that of the certificate's own ID.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_files(cert: &Path, key: &Path, bundle: &Path) -> Result<Arc<Self>, IdentityError> {
        let trust_domain = OwnSvid::from_files(cert, key)?.spiffe_id.trust_domain().clone();
        let svid = SvidSource::Files { cert: cert.into(), key: key.into() };
        let bundles = BTreeMap::from([(trust_domain.clone(), BundleSource::File(bundle.into()))]);
        Self::load(IdentityConfig { trust_domain, svid, bundles })
    }

    /// An identity from a Workload API, for clients: the trust domain is that of the SVID that it gives. It can verify servers of
    /// its own trust domain and of those in `federated`, as far as the Workload API gives their bundles. Asks until there is an
    /// answer that is good, at most for `time_max`.
    ///
    /// # Errors
    /// An [`IdentityError`] saying why there was none.
    pub async fn from_workload_api(
        api: WorkloadApi,
        federated: impl IntoIterator<Item = TrustDomain>,
        time_max: Duration,
    ) -> Result<Arc<Self>, IdentityError> {
        let first = workload::first(&api, time_max).await?;
        let trust_domain = first.svid.spiffe_id.trust_domain().clone();
        let domains = federated.into_iter().chain([trust_domain.clone()]);
        let bundles = domains.map(|domain| (domain, BundleSource::WorkloadApi)).collect();
        let inbox = Inbox::with(Feed::of(&api, first));
        let config = IdentityConfig { trust_domain, svid: SvidSource::WorkloadApi(api), bundles };
        Self::load_from(config, inbox, Absent::Refused)
    }

    /// The own SPIFFE ID, at this moment.
    pub fn spiffe_id(&self) -> SpiffeId {
        self.snapshot.load().spiffe_id()
    }

    /// How it is doing. Verifies the own SVID, so it costs about as much as one handshake's certificate check.
    pub fn status(&self) -> IdentityStatus {
        self.snapshot.load().status(clock::now_unix_ms())
    }

    /// SHA-256 over the DER of the own certificate, in lower-case hex; `None` while there is none. What is bound to our
    /// certificate (RFC 8705) names it by this.
    pub fn svid_sha256(&self) -> Option<String> {
        let snapshot = self.snapshot.load();
        snapshot.svid.as_ref()?.certified.cert.first().map(|leaf| sha256_hex(leaf))
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

    /// Follows the sources from now on: files, and streams of a Workload API. The task ends when it is aborted or the identity is dropped.
    ///
    /// Needs a Tokio runtime.
    pub fn spawn_watch(self: &Arc<Self>) -> JoinHandle<()> {
        watcher::spawn(self)
    }

    /// Waits until every source that is asked in the background has had a first word, at most for `time_max`. Somebody must be
    /// asking: see [`spawn_watch`](Self::spawn_watch). [`status`](Self::status) tells what came of it.
    pub async fn first_words(&self, time_max: Duration) {
        let mut generations = self.subscribe();
        let all = async {
            while self.lock_inbox_of(|config, inbox| inbox.awaits(config)) {
                let _ = tokio::time::timeout(Duration::from_millis(FIRST_WORDS_LOOK_MS), generations.changed()).await;
            }
        };
        let _ = tokio::time::timeout(time_max, all).await;
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

    /// Asks all sources again and takes what is new and good, each by itself: a bad file keeps what was in use.
    /// Blocks on the file system, briefly. What is not in files is what came last: it is asked for in the background, while
    /// [`spawn_watch`](Self::spawn_watch) runs.
    pub fn reload(&self) -> Reload {
        let config = self.lock();
        let old = self.snapshot.load_full();
        let mut next = Next::after(&old);
        next.take(&config, &self.lock_inbox());
        next.log_news(&old.notes);
        let found = Reload { changed: next.changed, errors: mem::take(&mut next.errors) };
        if found.changed || next.has_news(&old.notes) {
            self.put(next.into_snapshot(old.generation));
        }
        found
    }

    /// Replaces the configuration. Refused whole if anything of it cannot be loaded. What comes from a Workload API takes the
    /// place of what is in use once it has come.
    ///
    /// # Errors
    /// As [`load`](Self::load); then nothing has changed.
    pub fn reconfigure(&self, config: IdentityConfig) -> Result<(), IdentityError> {
        let mut held = self.lock();
        let old = self.snapshot.load_full();
        let snapshot = Snapshot::load(&config, &self.lock_inbox(), Some(&old), Absent::Refused)?;
        *held = config;
        self.put(snapshot);
        Ok(())
    }

    /// Something came from this Workload API, or it failed. It comes into use with the next reload.
    pub(crate) fn deliver(&self, api: &WorkloadApi, change: impl FnOnce(&mut Feed)) {
        let config = self.lock();
        // It may have come late, from one that is not to be asked any more.
        if config.workload_api() == Some(api) {
            change(self.lock_inbox().feed_of(api));
        }
    }

    /// The same for a domain's bundle endpoint.
    pub(crate) fn fetched(&self, domain: &TrustDomain, endpoint: &BundleEndpoint, change: impl FnOnce(&mut Fetched)) {
        let config = self.lock();
        if config.endpoints().any(|asked| asked == (domain, endpoint)) {
            change(self.lock_inbox().fetched_of(domain, endpoint));
        }
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, IdentityConfig> {
        // The configuration is only ever replaced whole, so a panic elsewhere cannot have left half of one.
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_inbox_of<T>(&self, look: impl FnOnce(&IdentityConfig, &Inbox) -> T) -> T {
        let config = self.lock();
        look(&config, &self.lock_inbox())
    }

    fn lock_inbox(&self) -> MutexGuard<'_, Inbox> {
        // Each of its parts is replaced whole.
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
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
