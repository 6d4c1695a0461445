//! A sink that is not required: it works in a thread of its own, behind a short queue, and whatever it does delays nobody.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::Duration;

use super::sink::Sink;
use crate::store::AuditHead;
use crate::telemetry::Metrics;
use crate::telemetry::labels::OfSink;

/// Groups that may wait for a slow sink; more are lost to it, and counted.
const WAITING_GROUPS_MAX: usize = 64;
/// How long closing waits for it.
const FINISH_MAX: Duration = Duration::from_secs(1);

/// The near end of a detached sink.
pub struct Detached {
    name: String,
    groups: Option<SyncSender<(Vec<u8>, AuditHead)>>,
    ended: Receiver<()>,
    metrics: Arc<Metrics>,
}

impl Detached {
    /// Moves `sink` into a thread.
    pub fn start(mut sink: Box<dyn Sink>, head: AuditHead, metrics: Arc<Metrics>) -> io::Result<Self> {
        let name = sink.name().to_owned();
        let (groups, received) = mpsc::sync_channel(WAITING_GROUPS_MAX);
        let (end, ended) = mpsc::channel();
        let counter = Arc::clone(&metrics);
        thread::Builder::new().name("audit-optional".into()).spawn(move || {
            drain(&mut *sink, head, &received, &counter);
            drop(sink);
            let _ = end.send(());
        })?;
        Ok(Self { name, groups: Some(groups), ended, metrics })
    }

    /// Hands it a group; one that it has no room for is lost to it.
    pub fn append(&mut self, bytes: &[u8], head: &AuditHead) {
        let sent = self.groups.as_ref().is_some_and(|groups| groups.try_send((bytes.to_vec(), head.clone())).is_ok());
        if !sent {
            self.metrics.audit_failures.get_or_create(&OfSink::of(&self.name)).inc();
        }
    }

    /// Lets it end, and waits a little.
    pub fn finish(&mut self) {
        self.groups = None;
        let _ = self.ended.recv_timeout(FINISH_MAX);
    }
}

fn drain(sink: &mut dyn Sink, mut last: AuditHead, groups: &Receiver<(Vec<u8>, AuditHead)>, metrics: &Metrics) {
    while let Ok(first) = groups.recv() {
        let mut next = Some(first);
        while let Some((bytes, head)) = next {
            match sink.prepare(&last).and_then(|()| sink.append(&bytes)) {
                Ok(()) => last = head,
                Err(why) => failed(sink, &why, metrics),
            }
            next = groups.try_recv().ok();
        }
        if let Some(Err(why)) = sink.file().map(|file| file.sync_data()) {
            failed(sink, &why, metrics);
        }
    }
}

fn failed(sink: &dyn Sink, why: &io::Error, metrics: &Metrics) {
    metrics.audit_failures.get_or_create(&OfSink::of(sink.name())).inc();
    tracing::warn!(sink = sink.name(), %why, "an audit file that is not required lost lines");
}
