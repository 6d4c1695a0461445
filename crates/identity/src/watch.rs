//! Following files: their directories are watched, and they are read now and then in any case.
//!
//! The directory and not the file, because files are replaced by renames: a mounted Kubernetes volume swaps the symlink
//! `..data` beside them, and a watch on the old file would die with it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::limits::{WATCH_POLL_MS, WATCH_SETTLE_MS};
use crate::{BundleEndpoint, Identity, TrustDomain, WorkloadApi, endpoint, workload};

pub(crate) fn spawn(identity: &Arc<Identity>) -> JoinHandle<()> {
    let changed = Arc::new(Notify::new());
    let directories = Directories::new(&changed);
    tokio::spawn(follow(Arc::downgrade(identity), directories, changed, identity.subscribe()))
}

async fn follow(
    identity: Weak<Identity>,
    mut directories: Directories,
    changed: Arc<Notify>,
    mut generations: watch::Receiver<u64>,
) {
    let mut remotes = Remotes::default();
    loop {
        let Some(alive) = identity.upgrade() else {
            return;
        };
        // A thread of its own: a file system that hangs must not hold up the runtime.
        let pass = tokio::task::spawn_blocking(move || {
            remotes.align(&alive);
            directories.watch(&wanted(&alive));
            alive.reload();
            (directories, remotes)
        });
        match pass.await {
            Ok(back) => (directories, remotes) = back,
            Err(_) => return,
        }
        tokio::select! {
            () = changed.notified() => tokio::time::sleep(Duration::from_millis(WATCH_SETTLE_MS)).await,
            // The configuration may be another one.
            _ = generations.changed() => {}
            () = tokio::time::sleep(Duration::from_millis(WATCH_POLL_MS)) => {}
        }
    }
}

/// The tasks that ask what is not in files. They end with this.
#[derive(Default)]
struct Remotes {
    workload_api: Option<(WorkloadApi, Task)>,
    endpoints: BTreeMap<TrustDomain, (BundleEndpoint, Task)>,
}

struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Remotes {
    /// Brings the tasks in line with the configuration. One that has ended by itself, because asking is hopeless, stays so.
    fn align(&mut self, identity: &Arc<Identity>) {
        let config = identity.lock();
        let weak = || Arc::downgrade(identity);
        let api = config.workload_api();
        if self.workload_api.as_ref().map(|(api, _)| api) != api {
            let task = |api: &WorkloadApi| Task(tokio::spawn(workload::follow(weak(), api.clone())));
            self.workload_api = api.map(|api| (api.clone(), task(api)));
        }
        let wanted: BTreeMap<_, _> = config.endpoints().collect();
        self.endpoints.retain(|domain, (endpoint, _)| wanted.get(domain).is_some_and(|wanted| *wanted == endpoint));
        for (domain, asked) in wanted {
            let task = || Task(tokio::spawn(endpoint::follow(weak(), domain.clone(), asked.clone())));
            self.endpoints.entry(domain.clone()).or_insert_with(|| (asked.clone(), task()));
        }
    }
}

/// The directories of all files, and those where symlinks among them lead.
fn wanted(identity: &Identity) -> BTreeSet<PathBuf> {
    let config = identity.lock();
    let mut wanted = BTreeSet::new();
    for path in config.paths() {
        let real = path.canonicalize().ok();
        for path in [Some(path), real.as_deref()].into_iter().flatten() {
            wanted.insert(directory_of(path).to_owned());
        }
    }
    wanted
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// The watches that are set.
struct Directories {
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
}

impl Directories {
    fn new(changed: &Arc<Notify>) -> Self {
        let changed = Arc::clone(changed);
        let tell = move |event: notify::Result<notify::Event>| {
            // Reading is announced too, and our own reading must not wake us.
            if !event.is_ok_and(|event| event.kind.is_access()) {
                changed.notify_one();
            }
        };
        let watcher = notify::recommended_watcher(tell);
        if let Err(error) = &watcher {
            tracing::warn!(%error, "changed files are noticed only every {WATCH_POLL_MS} ms");
        }
        Self { watcher: watcher.ok(), watched: BTreeSet::new() }
    }

    /// Brings the watches in line. One that cannot be set (the directory is missing) is tried again at the next pass.
    fn watch(&mut self, wanted: &BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        self.watched.retain(|directory| {
            // A directory that was removed and made anew needs a new watch.
            let keep = wanted.contains(directory) && directory.is_dir();
            if !keep {
                let _ = watcher.unwatch(directory);
            }
            keep
        });
        for directory in wanted {
            if !self.watched.contains(directory) && watcher.watch(directory, RecursiveMode::NonRecursive).is_ok() {
                self.watched.insert(directory.clone());
            }
        }
    }
}
