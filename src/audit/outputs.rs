//! All sinks of one log: which must take a line, what each is owed, and when they are synced.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::detached::{Detached, Loss};
use super::marks::{Collected, Mark};
use super::sink::{Group, NotTaken, Sink};
use super::syncer::Syncer;
use crate::store::AuditHead;
use crate::telemetry::Metrics;

/// The sinks of a log.
pub struct Outputs {
    required: Vec<Output>,
    optional: Vec<Detached>,
    /// `None`: each group is synced before it counts as written.
    syncer: Option<Syncer>,
    metrics: Arc<Metrics>,
}

/// A sink as the log begins with it.
pub struct Member {
    /// The sink.
    pub sink: Box<dyn Sink>,
    /// Whether nothing is handed out unless it took the line.
    pub required: bool,
    /// The last line it took.
    pub last: AuditHead,
    /// Groups that it must get first.
    pub owed: Vec<Arc<Group>>,
}

/// A required sink, and what it is owed.
struct Output {
    sink: Box<dyn Sink>,
    /// The last line it took.
    last: AuditHead,
    /// What another sink took and this one did not, or may have taken, and what it missed before the start: it comes first, so
    /// that the chain stays whole here too.
    owed: VecDeque<Arc<Group>>,
}

/// Required sinks failed.
#[derive(Debug)]
pub struct Failed {
    /// Their names.
    pub sinks: Vec<String>,
    /// What went wrong with the first.
    pub why: String,
    /// Whether some sink has the lines, or may have them: then they are the chain's, and their numbers are used up.
    pub some_may_have_it: bool,
}

impl Outputs {
    /// `sync`: see `audit_fsync_milliseconds_max`; `room`: see `audit_buffer_bytes_max`.
    ///
    /// # Errors
    /// A thread could not be started.
    pub fn new(members: Vec<Member>, sync: Duration, room: u64, metrics: &Arc<Metrics>) -> io::Result<Self> {
        let (mut required, mut optional) = (Vec::new(), Vec::new());
        for member in members {
            if member.required {
                required.push(Output { sink: member.sink, last: member.last, owed: member.owed.into() });
            } else {
                optional.push(Detached::start(member, room, Arc::clone(metrics))?);
            }
        }
        let syncer = if sync.is_zero() { None } else { Some(Syncer::start(sync)?) };
        Ok(Self { required, optional, syncer, metrics: Arc::clone(metrics) })
    }

    /// Makes every required sink ready for the next group.
    pub fn prepare(&mut self) -> Result<(), Failed> {
        if let Some((sink, why)) = self.syncer.as_ref().and_then(Syncer::take_failure) {
            return Err(Failed { why: format!("{sink}: sync: {why}"), sinks: vec![sink], some_may_have_it: true });
        }
        let mut failures = Failures::default();
        for output in &mut self.required {
            let done = output.prepare();
            self.metrics.audit_sink(output.sink.name(), done.is_ok());
            failures.note(&*output.sink, done);
        }
        failures.result(false)
    }

    /// Writes a group to all sinks.
    pub fn append(&mut self, group: &Arc<Group>) -> Result<(), Failed> {
        let (mut some_may_have_it, mut failures) = (false, Failures::default());
        for output in &mut self.required {
            let done = output.append(group);
            self.metrics.audit_sink(output.sink.name(), done.is_ok());
            some_may_have_it |= done.as_ref().map_or_else(|not| not.may_have_it, |()| true);
            failures.note(&*output.sink, done.map_err(|not| not.why));
        }
        let result = failures.result(some_may_have_it);
        if result.is_err() && !some_may_have_it {
            self.required.iter_mut().for_each(|output| output.owed.clear());
            return result;
        }
        for sink in &self.optional {
            sink.append(group);
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

    /// What sinks that are not required lost since the last call, where they take lines again.
    pub fn losses(&self) -> Vec<Loss> {
        self.optional.iter().filter_map(Detached::take_loss).collect()
    }

    /// Ends the sinks that are not required, and waits a little for what waits for them. What they did not take is lost, unless
    /// what collectors took is kept and a file has the lines: then they get them when the log is opened again.
    pub fn finish_optional(&mut self, kept: bool) {
        let kept = kept && self.required.iter().any(|output| output.sink.file().is_some());
        self.optional.iter().for_each(Detached::ask_to_end);
        self.optional.iter_mut().for_each(|sink| sink.wait_for_end(kept));
    }

    /// What each collector has.
    pub fn collected(&self) -> Collected {
        let required = self.required.iter().filter(|output| output.sink.is_collector());
        let has = |output: &Output| Mark::of(&output.last, &output.sink.certain(&output.last));
        let required = required.map(|output| (output.sink.name().to_owned(), has(output)));
        required.chain(self.optional.iter().filter_map(Detached::has)).collect()
    }

    /// Syncs everything.
    pub fn finish(&mut self) -> io::Result<()> {
        self.prepare().and_then(|()| self.sync_now()).map_err(|failed| io::Error::other(failed.why))
    }

    fn sync_now(&mut self) -> Result<(), Failed> {
        let mut failures = Failures::default();
        for output in &self.required {
            let synced = output.sink.file().map_or(Ok(()), |file| file.sync_data());
            failures.note(&*output.sink, synced.map_err(|why| io::Error::new(why.kind(), format!("sync: {why}"))));
        }
        failures.result(true)
    }
}

impl Output {
    fn prepare(&mut self) -> io::Result<()> {
        self.sink.prepare(&self.last)?;
        while let Some(group) = self.owed.front() {
            self.sink.append(group).map_err(|not| not.why)?;
            self.last = group.head.clone();
            self.owed.pop_front();
        }
        Ok(())
    }

    fn append(&mut self, group: &Arc<Group>) -> Result<(), NotTaken> {
        let done = self.sink.append(group);
        match &done {
            Ok(()) => self.last = group.head.clone(),
            Err(_) => self.owed.push_back(Arc::clone(group)),
        }
        done
    }
}

/// Those that failed.
#[derive(Default)]
struct Failures {
    sinks: Vec<String>,
    why: Option<String>,
}

impl Failures {
    fn note(&mut self, sink: &dyn Sink, done: io::Result<()>) {
        let Err(why) = done else { return };
        self.why.get_or_insert_with(|| format!("{}: {why}", sink.name()));
        self.sinks.push(sink.name().to_owned());
    }

    fn result(self, some_may_have_it: bool) -> Result<(), Failed> {
        match self.why {
            Some(why) => Err(Failed { sinks: self.sinks, why, some_may_have_it }),
            None => Ok(()),
        }
    }
}
