//! The thread that writes. It takes whatever waits as one group, writes it with one call per sink, and only then answers.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

use leasehold_sdk::{Timestamp, clock};
use tokio::sync::oneshot;

use super::Event;
use super::chain::{Head, append_line};
use super::checkpoint::Checkpoints;
use super::detached::Loss;
use super::log::{AuditError, IDLE, Shared, encode};
use super::marks::{HeadFile, Marks};
use super::outputs::{Failed, Outputs};
use super::sink::Group;
use crate::store::AuditHead;
use crate::telemetry::Metrics;
use crate::telemetry::labels::OfSink;

/// Lines in one group at most, and the bytes of events past which none is added: what a failed write refuses together, and
/// the memory of a group.
const GROUP_LINES_MAX: usize = 1024;
const GROUP_BYTES_MAX: usize = 1024 * 1024;
/// How long an idle or failing log waits before it looks at its sinks again.
const TICK: Duration = Duration::from_secs(1);

/// Work for the thread.
pub enum Job {
    /// Events to write, and whom to tell.
    Lines { lines: Vec<Vec<u8>>, reply: Reply },
    /// Sync, answer and end.
    Close { reply: Reply },
}

type Reply = oneshot::Sender<Result<(), AuditError>>;

/// What every line says about where it comes from.
pub struct Origin {
    pub chain: String,
    pub broker: String,
}

/// What a log begins with.
pub struct Beginning {
    /// The last line before it.
    pub head: AuditHead,
    /// Events that go before all others.
    pub preface: Vec<Vec<u8>>,
    pub checkpoints: Option<Checkpoints>,
    pub marks: Marks,
    /// Where no sink is a file.
    pub head_file: Option<HeadFile>,
}

/// The state of the thread.
pub struct Writer {
    shared: Arc<Shared>,
    outputs: Outputs,
    origin: Origin,
    metrics: Arc<Metrics>,
    head: AuditHead,
    /// Events that go before all others, until they are written.
    preface: Vec<Vec<u8>>,
    /// What sinks that are not required lost, and is not on record yet.
    losses: Vec<Loss>,
    checkpoints: Option<Checkpoints>,
    marks: Marks,
    head_file: Option<HeadFile>,
    /// When the marks were kept last, by the boot clock.
    marked_at: Duration,
    /// What is written now is the end.
    closing: bool,
    trouble: Option<Trouble>,
}

/// Lines made ready.
struct Made {
    group: Arc<Group>,
    /// When, and whether the last is a checkpoint.
    at: Timestamp,
    checkpoint: bool,
}

/// The log cannot be written at present.
struct Trouble {
    since: Timestamp,
    refused_lines: u64,
}

/// Starts the thread over `writer`; it ends when the log is closed or its last handle is gone.
pub fn spawn(writer: Writer, jobs: Receiver<Job>) -> io::Result<()> {
    thread::Builder::new().name("audit".into()).spawn(move || writer.run(&jobs)).map(drop)
}

impl Writer {
    /// A writer that has written nothing.
    pub fn new(
        shared: Arc<Shared>,
        outputs: Outputs,
        origin: Origin,
        metrics: Arc<Metrics>,
        beginning: Beginning,
    ) -> Self {
        metrics.audit_writable.set(1);
        let Beginning { head, preface, checkpoints, marks, head_file } = beginning;
        Self {
            shared,
            outputs,
            origin,
            metrics,
            head,
            preface,
            losses: Vec::new(),
            checkpoints,
            marks,
            head_file,
            marked_at: clock::boot(),
            closing: false,
            trouble: None,
        }
    }

    fn run(mut self, jobs: &Receiver<Job>) {
        // A collector that is new begins here, whatever happens next.
        self.marks.keep(self.outputs.collected());
        // What was found at start goes on record though nobody asks for a line.
        self.tick();
        loop {
            let close = match jobs.recv_timeout(TICK) {
                Ok(job) => self.group(job, jobs),
                Err(RecvTimeoutError::Timeout) => {
                    self.tick();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let _ = self.finish();
                    return;
                }
            };
            if let Some(reply) = close {
                let synced = self.finish().map_err(|why| AuditError::NotWritten(why.to_string().into()));
                // Whoever waits may open the files again at once: their locks must be gone.
                drop(self);
                let _ = reply.send(synced);
                return;
            }
        }
    }

    /// Writes what waits, beginning with `first`. Answers whom to tell when it met a wish to close.
    fn group(&mut self, first: Job, jobs: &Receiver<Job>) -> Option<Reply> {
        let (mut events, mut replies, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut next = Some(first);
        let mut close = None;
        while let Some(job) = next {
            match job {
                Job::Lines { lines, reply } => {
                    bytes += lines.iter().map(Vec::len).sum::<usize>();
                    events.extend(lines);
                    replies.push(reply);
                }
                Job::Close { reply } => {
                    close = Some(reply);
                    break;
                }
            }
            let full = events.len() >= GROUP_LINES_MAX || bytes >= GROUP_BYTES_MAX;
            next = if full { None } else { jobs.try_recv().ok() };
        }
        let written = if events.is_empty() { Ok(()) } else { self.write(&events) };
        self.shared.waiting.fetch_sub(events.len() as u64, Ordering::AcqRel);
        for reply in replies {
            let _ = reply.send(written.clone().map_err(AuditError::NotWritten));
        }
        close
    }

    /// Covers the last lines by a checkpoint, so that a log that was closed well ends in one; puts on record what sinks that are
    /// not required did not take in time; syncs.
    fn finish(&mut self) -> io::Result<()> {
        self.closing = true;
        self.tick();
        self.outputs.finish_optional(self.marks.are_kept());
        self.tick();
        self.marks.keep(self.outputs.collected());
        self.outputs.finish()
    }

    /// Without work: follows a rotation, tries again what failed, writes a checkpoint that is due.
    fn tick(&mut self) {
        let _ = self.write(&[]);
    }

    /// Writes `events`, after what must come before them, and keeps book of whether the log can be written.
    fn write(&mut self, events: &[Vec<u8>]) -> Result<(), Arc<str>> {
        self.shared.busy_since.store(clock::boot().as_millis() as u64, Ordering::Release);
        let result = self.try_write(events);
        self.shared.busy_since.store(IDLE, Ordering::Release);
        self.shared.writable.store(result.is_ok(), Ordering::Release);
        self.metrics.audit_writable.set(i64::from(result.is_ok()));
        if clock::boot().saturating_sub(self.marked_at) >= TICK {
            self.marked_at = clock::boot();
            self.marks.keep(self.outputs.collected());
        }
        match &result {
            Ok(()) => {
                if self.trouble.take().is_some() {
                    tracing::info!("the audit log can be written again");
                }
            }
            Err(why) => {
                let trouble = self.trouble.get_or_insert_with(|| {
                    tracing::error!(%why, "the audit log cannot be written; nothing is handed out until it can");
                    Trouble { since: clock::wall(), refused_lines: 0 }
                });
                trouble.refused_lines += events.len() as u64;
            }
        }
        result
    }

    fn try_write(&mut self, events: &[Vec<u8>]) -> Result<(), Arc<str>> {
        self.outputs.prepare().map_err(|failed| self.counted(failed))?;
        let resumed = self.trouble.as_ref().map(|trouble| {
            let event = Event::AuditResumed { refused_lines: trouble.refused_lines, since: trouble.since };
            encode(&event).expect("it is short")
        });
        // They stay until they are on record.
        self.losses.extend(self.outputs.losses());
        let losses: Vec<Vec<u8>> =
            self.losses.iter().map(|loss| encode(&lines_lost(loss)).expect("it is short")).collect();
        let own = self.preface.iter().chain(&resumed).chain(&losses);
        let all: Vec<&[u8]> = own.chain(events).map(Vec::as_slice).collect();
        let checkpoint = self.checkpoints.as_ref().is_some_and(|checkpoints| match self.closing {
            true => checkpoints.is_owed(!all.is_empty()),
            false => checkpoints.is_due(!all.is_empty(), clock::boot(), clock::wall()),
        });
        if all.is_empty() && !checkpoint {
            return Ok(());
        }
        let made = self.make(&all, checkpoint);
        if let Some(file) = &mut self.head_file {
            file.put(&made.group.head);
        }
        match self.outputs.append(&made.group) {
            // Nobody has these lines: their numbers are free again.
            Err(failed) if !failed.some_may_have_it => {
                if let Some(file) = &mut self.head_file {
                    file.put(&self.head);
                }
                return Err(self.counted(failed));
            }
            appended => {
                self.took(made);
                appended.map_err(|failed| self.counted(failed))?;
            }
        }
        self.outputs.sync().map_err(|failed| self.counted(failed))
    }

    fn make(&self, events: &[&[u8]], checkpoint: bool) -> Made {
        let (at, config) = (clock::wall(), self.shared.config_hash.load_full());
        let mut head = self.head.clone();
        let mut bytes = Vec::with_capacity(events.iter().map(|event| event.len() + 512).sum());
        let mut add = |head: &mut AuditHead, event: &[u8]| {
            head.seq += 1;
            let own = Head {
                seq: head.seq,
                at,
                chain: &self.origin.chain,
                broker: &self.origin.broker,
                config: &config,
                prev: &head.hash,
            };
            head.hash = append_line(&mut bytes, &own, event);
        };
        events.iter().for_each(|event| add(&mut head, event));
        if let Some(checkpoints) = self.checkpoints.as_ref().filter(|_| checkpoint) {
            let event = checkpoints.event(&self.origin.chain, &head, at);
            add(&mut head, &encode(&event).expect("it is short"));
        }
        let group = Arc::new(Group { bytes, lines: head.seq - self.head.seq, head });
        Made { group, at, checkpoint }
    }

    fn took(&mut self, made: Made) {
        self.preface.clear();
        self.losses.clear();
        if let Some(trouble) = &mut self.trouble {
            // Put on record just now; what is refused from here on is counted anew.
            *trouble = Trouble { since: clock::wall(), refused_lines: 0 };
        }
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.written(made.checkpoint, clock::boot(), made.at);
        }
        self.metrics.audit_lines.inc_by(made.group.lines);
        self.head = made.group.head.clone();
        *self.shared.head.lock().unwrap_or_else(PoisonError::into_inner) = made.group.head.clone();
    }

    fn counted(&self, failed: Failed) -> Arc<str> {
        for sink in &failed.sinks {
            self.metrics.audit_failures.get_or_create(&OfSink::of(sink)).inc();
        }
        failed.why.into()
    }
}

fn lines_lost(loss: &Loss) -> Event {
    let Loss { sink, lines, first_seq, last_seq, since } = loss.clone();
    Event::LinesLost { sink, lines, first_seq, last_seq, since }
}

impl Drop for Writer {
    /// A log without its thread takes no lines, whatever ended it.
    fn drop(&mut self) {
        self.shared.writable.store(false, Ordering::Release);
        self.metrics.audit_writable.set(0);
    }
}
