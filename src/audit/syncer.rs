//! Syncs files soon after they were written, beside the thread that writes: a slow disk delays no line.

use std::fs::File;
use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use leasehold_sdk::clock;

type Dirty = (String, Arc<File>);

/// The near end of the thread.
pub struct Syncer {
    dirty: Option<Sender<Dirty>>,
    thread: Option<thread::JoinHandle<()>>,
    failure: Arc<Mutex<Option<(String, io::Error)>>>,
}

impl Syncer {
    /// Starts the thread. A sync begins half of `within` after the first write it covers: the other half is for the disk, and
    /// what is written meanwhile shares the sync.
    pub fn start(within: Duration) -> io::Result<Self> {
        let (dirty, received) = mpsc::channel();
        let failure = Arc::new(Mutex::new(None));
        let failed = Arc::clone(&failure);
        let thread = thread::Builder::new().name("audit-sync".into()).spawn(move || {
            while let Ok(first) = received.recv() {
                for (name, file) in gather(first, &received, within / 2) {
                    if let Err(why) = file.sync_data() {
                        *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some((name, why));
                    }
                }
            }
        })?;
        Ok(Self { dirty: Some(dirty), thread: Some(thread), failure })
    }

    /// Syncs `file` soon.
    pub fn soon(&self, name: &str, file: Arc<File>) {
        // The thread ends only with this sender.
        let _ = self.dirty.as_ref().map(|dirty| dirty.send((name.to_owned(), file)));
    }

    /// A sync that failed since the last call: what was written before it may not survive a crash of the machine.
    pub fn take_failure(&self) -> Option<(String, io::Error)> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Syncer {
    /// Waits for the syncs under way: the thread holds the files, and with them their locks.
    fn drop(&mut self) {
        self.dirty = None;
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

/// The distinct files that become dirty within `window`.
fn gather(first: Dirty, received: &Receiver<Dirty>, window: Duration) -> Vec<Dirty> {
    let until = clock::boot() + window;
    let mut files = vec![first];
    while let Ok(next) = received.recv_timeout(until.saturating_sub(clock::boot())) {
        if files.iter().all(|(_, file)| !Arc::ptr_eq(file, &next.1)) {
            files.push(next);
        }
    }
    files
}
