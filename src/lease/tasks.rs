//! The broker's own tasks: the loops of each target, and deeds that must reach their end although nobody waits for them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Counts deeds under way, and holds the loops.
pub(super) struct Tasks {
    under_way: watch::Sender<usize>,
    stop: watch::Sender<bool>,
    loops: Mutex<HashMap<String, Loops>>,
}

/// Loops under one name, with what tells them to end.
struct Loops {
    stop: watch::Sender<bool>,
    running: Vec<JoinHandle<()>>,
}

/// One deed under way.
pub(super) struct UnderWay(watch::Sender<usize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|n| *n -= 1);
    }
}

impl Tasks {
    pub(super) fn new() -> Self {
        Self { under_way: watch::Sender::new(0), stop: watch::Sender::new(false), loops: Mutex::default() }
    }

    /// Notes a deed until the answer is dropped.
    pub(super) fn begin(&self) -> UnderWay {
        self.under_way.send_modify(|n| *n += 1);
        UnderWay(self.under_way.clone())
    }

    /// How many deeds are under way.
    pub(super) fn under_way(&self) -> usize {
        *self.under_way.borrow()
    }

    /// Starts loops under `name`. Those that ran there are told to end; they finish what they are at.
    pub(super) fn start(&self, name: &str, make: impl FnOnce(&watch::Receiver<bool>) -> Vec<JoinHandle<()>>) {
        let (stop, stopped) = watch::channel(*self.stop.borrow());
        let new = Loops { running: make(&stopped), stop };
        let old = self.loops.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), new);
        if let Some(old) = old {
            old.stop.send_replace(true);
        }
    }

    /// Names under which loops run.
    pub(super) fn names(&self) -> Vec<String> {
        self.loops.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Tells the loops under `name` to end.
    pub(super) fn end(&self, name: &str) {
        if let Some(old) = self.loops.lock().unwrap_or_else(PoisonError::into_inner).remove(name) {
            old.stop.send_replace(true);
        }
    }

    /// Tells every loop to stop, and waits for deeds under way and loops to end, `max` at most in all. What is cut off then
    /// is where a crash would leave it, and the next start goes on from there.
    pub(super) async fn stop(&self, max: Duration) {
        let deadline = tokio::time::Instant::now() + max;
        self.stop.send_replace(true);
        let mut under_way = self.under_way.subscribe();
        let _ = tokio::time::timeout_at(deadline, under_way.wait_for(|n| *n == 0)).await;
        let loops: Vec<_> = {
            let mut loops = self.loops.lock().unwrap_or_else(PoisonError::into_inner);
            loops.values().for_each(|l| _ = l.stop.send_replace(true));
            loops.drain().flat_map(|(_, l)| l.running).collect()
        };
        for mut task in loops {
            if tokio::time::timeout_at(deadline, &mut task).await.is_err() {
                task.abort();
            }
        }
    }
}
