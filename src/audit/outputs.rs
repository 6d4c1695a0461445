//! All sinks of one log: which must take a line, what each is owed, and when they are synced.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::detached::Detached;
use super::sink::Sink;
use super::syncer::Syncer;
use crate::store::AuditHead;
use crate::telemetry::Metrics;

/// The sinks of a log.
pub struct Outputs {
    required: Vec<Output>,
    optional: Vec<Detached>,
    /// `None`: each group is synced before it counts as written.
    syncer: Option<Syncer>,
}

/// A required sink, and what it is owed.
struct Output {
    sink: Box<dyn Sink>,
    /// The last line it took.
    last: AuditHead,
    /// A group that another sink took and this one did not, and the group's last line: it comes first, so that the chain
    /// stays whole here too.
    owed: Option<(Vec<u8>, AuditHead)>,
}

/// Required sinks failed.
#[derive(Debug)]
pub struct Failed {
    /// Their names.
    pub sinks: Vec<String>,
    /// What went wrong with the first.
    pub why: String,
    /// Whether another sink has the lines.
    pub some_took_it: bool,
}

impl Outputs {
    /// Sinks with whether each is required; `head`: the last line of the chain; `sync`: see `audit_fsync_milliseconds_max`.
    ///
    /// # Errors
    /// A thread could not be started.
    pub fn new(
        sinks: Vec<(Box<dyn Sink>, bool)>,
        head: &AuditHead,
        sync: Duration,
        metrics: &Arc<Metrics>,
    ) -> io::Result<Self> {
        let (mut required, mut optional) = (Vec::new(), Vec::new());
        for (sink, is_required) in sinks {
            if is_required {
                required.push(Output { sink, last: head.clone(), owed: None });
            } else {
                optional.push(Detached::start(sink, head.clone(), Arc::clone(metrics))?);
            }
        }
        let syncer = if sync.is_zero() { None } else { Some(Syncer::start(sync)?) };
        Ok(Self { required, optional, syncer })
    }

    /// Makes every required sink ready for the next group.
    pub fn prepare(&mut self) -> Result<(), Failed> {
        if let Some((sink, why)) = self.syncer.as_ref().and_then(Syncer::take_failure) {
            return Err(Failed { why: format!("{sink}: sync: {why}"), sinks: vec![sink], some_took_it: true });
        }
        gather(self.required.iter_mut().map(|output| {
            let done = output.prepare();
            (&*output.sink, done)
        }))
        .1
    }

    /// Writes a group that ends in the line `head` to all sinks.
    pub fn append(&mut self, bytes: &[u8], head: &AuditHead) -> Result<(), Failed> {
        let (took, result) = gather(self.required.iter_mut().map(|output| {
            let done = output.sink.append(bytes);
            if done.is_ok() {
                output.last = head.clone();
            } else {
                output.owed = Some((bytes.to_vec(), head.clone()));
            }
            (&*output.sink, done)
        }));
        if took == 0 && result.is_err() {
            self.required.iter_mut().for_each(|output| output.owed = None);
            return result;
        }
        for sink in &mut self.optional {
            sink.append(bytes, head);
        }
        result
    }

    /// Syncs what was appended, now or soon.
    pub fn sync(&mut self) -> Result<(), Failed> {
        match &self.syncer {
            Some(syncer) => {
                for output in &self.required {
                    if let Some(file) = output.sink.file() {
                        syncer.soon(output.sink.name(), file);
                    }
                }
                Ok(())
            }
            None => self.sync_now(),
        }
    }

    /// Syncs everything, and waits a little for the optional sinks.
    pub fn finish(&mut self) -> io::Result<()> {
        self.optional.iter_mut().for_each(Detached::finish);
        self.prepare().and_then(|()| self.sync_now()).map_err(|failed| io::Error::other(failed.why))
    }

    fn sync_now(&mut self) -> Result<(), Failed> {
        let synced = |output: &Output| output.sink.file().map_or(Ok(()), |file| file.sync_data());
        let (_, result) = gather(self.required.iter().map(|output| (&*output.sink, synced(output))));
        result.map_err(|failed| Failed { some_took_it: true, why: format!("sync: {}", failed.why), ..failed })
    }
}

impl Output {
    fn prepare(&mut self) -> io::Result<()> {
        self.sink.prepare(&self.last)?;
        if let Some((bytes, head)) = &self.owed {
            self.sink.append(bytes)?;
            self.last = head.clone();
            self.owed = None;
        }
        Ok(())
    }
}

/// How many succeeded, and those that did not.
fn gather<'a>(results: impl Iterator<Item = (&'a dyn Sink, io::Result<()>)>) -> (usize, Result<(), Failed>) {
    let (mut took, mut failed) = (0, None::<Failed>);
    for (sink, result) in results {
        let Err(why) = result else {
            took += 1;
            continue;
        };
        let name = sink.name().to_owned();
        let why = format!("{name}: {why}");
        failed.get_or_insert_with(|| Failed { sinks: Vec::new(), why, some_took_it: false }).sinks.push(name);
    }
    let failed = failed.map(|failed| Failed { some_took_it: took > 0, ..failed });
    (took, failed.map_or(Ok(()), Err))
}
