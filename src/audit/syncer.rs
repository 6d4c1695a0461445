//! Syncs files soon after they were written, beside the thread that writes: a slow disk delays no line.

use std::fs::File;
use std::io;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

type Dirty = (String, Arc<File>);

/// The near end of the thread.
pub struct Syncer {
    bell: Option<Sender<()>>,
    /// What the next sync is for. The bell is rung only for the first of them: a thread that is woken for each write costs
    /// more than the writes.
    dirty: Arc<Mutex<Vec<Dirty>>>,
    thread: Option<thread::JoinHandle<()>>,
    failure: Arc<Mutex<Option<(String, io::Error)>>>,
}

impl Syncer {
    /// Starts the thread. A sync begins half of `within` after the first write it covers: the other half is for the disk, and
    /// what is written meanwhile shares the sync.
    pub fn start(within: Duration) -> io::Result<Self> {
        let (bell, rung) = mpsc::channel();
        let (dirty, failure) = (Arc::<Mutex<Vec<Dirty>>>::default(), Arc::new(Mutex::new(None)));
        let (waiting, failed) = (Arc::clone(&dirty), Arc::clone(&failure));
        let thread = thread::Builder::new().name("audit-sync".into()).spawn(move || {
            while rung.recv().is_ok() {
                // Only the end of the log cuts this short: while files wait, nobody rings.
                let _ = rung.recv_timeout(within / 2);
                for (name, file) in std::mem::take(&mut *lock(&waiting)) {
                    if let Err(why) = file.sync_data() {
                        *lock(&failed) = Some((name, why));
                    }
                }
            }
        })?;
        Ok(Self { bell: Some(bell), dirty, thread: Some(thread), failure })
    }

    /// Syncs `file` soon.
    pub fn soon(&self, name: &str, file: Arc<File>) {
        let mut dirty = lock(&self.dirty);
        if dirty.iter().any(|(_, waiting)| Arc::ptr_eq(waiting, &file)) {
            return;
        }
        dirty.push((name.to_owned(), file));
        if dirty.len() == 1 {
            // The thread ends only with this sender.
            let _ = self.bell.as_ref().map(|bell| bell.send(()));
        }
    }

    /// A sync that failed since the last call: what was written before it may not survive a crash of the machine.
    pub fn take_failure(&self) -> Option<(String, io::Error)> {
        lock(&self.failure).take()
    }
}

impl Drop for Syncer {
    /// Waits for the syncs under way: the thread holds the files, and with them their locks.
    fn drop(&mut self) {
        self.bell = None;
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

/// A panic while it was held leaves a plain value behind.
fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}
