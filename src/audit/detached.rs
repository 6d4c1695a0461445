//! A sink that is not required: it works in a thread of its own, behind a bounded buffer, and whatever it does delays nobody.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use leasehold_sdk::{Timestamp, clock};

use super::marks::Mark;
use super::outputs::Member;
use super::sink::{Group, Sink};
use crate::store::AuditHead;
use crate::telemetry::Metrics;
use crate::telemetry::labels::OfSink;

/// Bytes that it is given at once, if they are of more than one group.
const BATCH_BYTES_MAX: usize = 512 * 1024;
/// How long it waits before it tries again, and looks at its sink when there is nothing to do.
const TICK: Duration = Duration::from_millis(500);
/// How long closing waits for it.
const FINISH_MAX: Duration = Duration::from_secs(1);

/// The near end of a detached sink.
pub struct Detached {
    name: String,
    is_collector: bool,
    buffer: Arc<Buffer>,
    ended: Receiver<()>,
}

/// Lines that a sink lost, which are those of one stretch of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Which sink.
    pub sink: String,
    /// How many.
    pub lines: u64,
    /// The first.
    pub first_seq: u64,
    /// The last.
    pub last_seq: u64,
    /// When the first was lost.
    pub since: Timestamp,
}

/// What waits for the sink.
struct Buffer {
    room: usize,
    state: Mutex<State>,
    bell: Condvar,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Arc<Group>>,
    bytes: usize,
    /// What is being lost: until the sink has taken a good part of what waits, so that it is one stretch and not many.
    losing: Option<Loss>,
    /// What was lost before it took lines again.
    lost: Option<Loss>,
    /// What it has.
    has: Option<Mark>,
    ending: bool,
}

impl Detached {
    /// Moves a sink into a thread, behind a buffer of so many bytes.
    pub fn start(member: Member, room: u64, metrics: Arc<Metrics>) -> io::Result<Self> {
        let Member { sink, last: head, owed, .. } = member;
        let (name, is_collector) = (sink.name().to_owned(), sink.is_collector());
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let bytes = owed.iter().map(|group| group.bytes.len()).sum();
        // From the start, so that the first loss is seen to be one.
        metrics.audit_lost_lines.get_or_create(&OfSink::of(&name)).inc_by(0);
        let state = State { waiting: owed.into(), bytes, has: Some(Mark::of(&head, &head)), ..State::default() };
        let buffer = Arc::new(Buffer { room, state: Mutex::new(state), bell: Condvar::new(), metrics });
        let (end, ended): (Sender<()>, _) = mpsc::channel();
        let mut drain = Drain { sink, last: head, buffer: Arc::clone(&buffer), is_up: true };
        thread::Builder::new().name("audit-optional".into()).spawn(move || {
            drain.run();
            // Whoever waits may open the same file again at once.
            drop(drain);
            drop(end);
        })?;
        Ok(Self { name, is_collector, buffer, ended })
    }

    /// Hands it a group; one that it has no room for is lost to it.
    pub fn append(&self, group: &Arc<Group>) {
        let mut state = self.buffer.lock();
        let fits = state.bytes == 0 || state.bytes + group.bytes.len() <= self.buffer.room;
        if fits && state.losing.is_none() && !state.ending {
            state.bytes += group.bytes.len();
            state.waiting.push_back(Arc::clone(group));
            self.buffer.show(&self.name, &state);
            self.buffer.bell.notify_one();
        } else {
            self.lose(&mut state, group);
        }
    }

    /// What it lost before it took lines again, once.
    pub fn take_loss(&self) -> Option<Loss> {
        self.buffer.lock().lost.take()
    }

    /// Its name and what it has, if it is a collector.
    pub fn has(&self) -> Option<(String, Mark)> {
        let has = self.buffer.lock().has.clone()?;
        self.is_collector.then(|| (self.name.clone(), has))
    }

    /// Asks it to end when it has taken what waits, and to try no longer than a moment.
    pub fn ask_to_end(&self) {
        self.buffer.lock().ending = true;
        self.buffer.bell.notify_one();
    }

    /// Waits for its end. What it has not taken by then is lost, unless it is a collector and is `kept` for it.
    pub fn wait_for_end(&mut self, kept: bool) {
        let _ = self.ended.recv_timeout(FINISH_MAX);
        let mut state = self.buffer.lock();
        state.bytes = 0;
        for group in std::mem::take(&mut state.waiting) {
            if !(kept && self.is_collector) {
                self.lose(&mut state, &group);
            }
        }
        state.lost = merged(state.lost.take(), state.losing.take());
    }

    fn lose(&self, state: &mut State, group: &Group) {
        self.buffer.metrics.audit_lost_lines.get_or_create(&OfSink::of(&self.name)).inc_by(group.lines);
        let loss = Loss {
            sink: self.name.clone(),
            lines: group.lines,
            first_seq: group.first_seq(),
            last_seq: group.head.seq,
            since: clock::wall(),
        };
        if state.losing.is_none() && !state.ending {
            let room = self.buffer.room;
            tracing::error!(
                sink = self.name,
                room,
                "an audit sink that is not required is away for too long and loses lines"
            );
        }
        state.losing = merged(state.losing.take(), Some(loss));
    }
}

/// Both as one stretch.
fn merged(first: Option<Loss>, then: Option<Loss>) -> Option<Loss> {
    match (first, then) {
        (Some(a), Some(b)) => Some(Loss {
            lines: a.lines + b.lines,
            first_seq: a.first_seq.min(b.first_seq),
            last_seq: a.last_seq.max(b.last_seq),
            since: a.since.min(b.since),
            sink: a.sink,
        }),
        (one, other) => one.or(other),
    }
}

impl Buffer {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, sink: &str, state: &State) {
        let bytes = i64::try_from(state.bytes).unwrap_or(i64::MAX);
        self.metrics.audit_waiting_bytes.get_or_create(&OfSink::of(sink)).set(bytes);
    }
}

/// The far end: the thread's.
struct Drain {
    sink: Box<dyn Sink>,
    last: AuditHead,
    buffer: Arc<Buffer>,
    is_up: bool,
}

impl Drain {
    fn run(&mut self) {
        loop {
            let (batch, ending) = self.next();
            if batch.is_empty() && ending {
                return;
            }
            match self.give(&batch) {
                Ok(()) => self.took(&batch),
                // What is left is counted by whoever asked for the end.
                Err(_) if ending => return,
                Err(why) => self.failed(&why),
            }
        }
    }

    /// What waits, as much as is given at once; nothing: it is time to look at the sink.
    fn next(&self) -> (Vec<Arc<Group>>, bool) {
        let mut state = self.buffer.lock();
        // After a failure it is not asked again at once, whatever waits.
        if !state.ending && (state.waiting.is_empty() || !self.is_up) {
            let waited = self
                .buffer
                .bell
                .wait_timeout_while(state, TICK, |state| !state.ending && (state.waiting.is_empty() || !self.is_up));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let mut bytes = 0;
        let batch = state.waiting.iter().take_while(|group| {
            bytes += group.bytes.len();
            bytes == group.bytes.len() || bytes <= BATCH_BYTES_MAX
        });
        (batch.cloned().collect(), state.ending)
    }

    fn give(&mut self, batch: &[Arc<Group>]) -> io::Result<()> {
        self.sink.prepare(&self.last)?;
        let Some(group) = Group::of(batch) else {
            self.up();
            return Ok(());
        };
        self.sink.append(&group).map_err(|not| not.why)?;
        self.last = group.head.clone();
        match self.sink.file().map(|file| file.sync_data()) {
            // It has the lines: they need not come again.
            Some(Err(why)) => self.failed(&why),
            _ => self.up(),
        }
        Ok(())
    }

    fn took(&mut self, batch: &[Arc<Group>]) {
        let mut state = self.buffer.lock();
        // At the end, whoever waited for it may have given it up.
        let taken = batch.len().min(state.waiting.len());
        let bytes: usize = state.waiting.drain(..taken).map(|group| group.bytes.len()).sum();
        state.bytes -= bytes;
        state.has = Some(Mark::of(&self.last, &self.sink.certain(&self.last)));
        if state.bytes <= self.buffer.room / 2 {
            state.lost = merged(state.lost.take(), state.losing.take());
        }
        self.buffer.show(self.sink.name(), &state);
    }

    fn up(&mut self) {
        if !self.is_up {
            tracing::info!(sink = self.sink.name(), "an audit sink that is not required takes lines again");
        }
        self.is_up = true;
        self.buffer.metrics.audit_sink(self.sink.name(), true);
    }

    fn failed(&mut self, why: &io::Error) {
        if self.is_up {
            tracing::warn!(sink = self.sink.name(), %why, "an audit sink that is not required fails; lines wait for it");
        }
        self.is_up = false;
        self.buffer.metrics.audit_failures.get_or_create(&OfSink::of(self.sink.name())).inc();
        self.buffer.metrics.audit_sink(self.sink.name(), false);
    }
}
