//! The handle that the rest of the broker writes through.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use arc_swap::ArcSwap;
use leasehold_sdk::clock;
use tokio::sync::oneshot;

use super::Event;
use super::chain::LINE_BYTES_MAX;
use super::checkpoint::Checkpoints;
use super::collector::{HttpsSink, SyslogSink};
use super::marks::{HeadFile, Mark, Marks};
use super::outputs::{Member, Outputs};
use super::sink::{Sink, StdoutSink};
use super::start::{self, FoundFile};
use super::writer::{self, Beginning, Job, Origin, Writer};
use crate::config::{AuditSink, AuditTo};
use crate::limits::Limits;
use crate::seal::VerifyingKey;
use crate::store::AuditHead;
use crate::telemetry::Metrics;

/// Room that a line's own members take at most, beside its event.
const LINE_HEAD_BYTES_MAX: usize = 2048;

/// What a log is opened with.
pub struct OpenOptions {
    /// Where lines go.
    pub sinks: Vec<AuditSink>,
    /// Names this broker's chain: cluster, store and instance.
    pub chain: String,
    /// The broker's instance, on every line.
    pub broker: String,
    /// SHA-256 of the configuration, on every line until [`AuditLog::set_config_hash`].
    pub config_hash: String,
    /// Those that begin with `audit_` are taken from here.
    pub limits: Limits,
    /// The head that the store kept.
    pub known_head: Option<AuditHead>,
    /// Where lines and failures are counted.
    pub metrics: Arc<Metrics>,
    /// How checkpoints are made; `None`: none are.
    pub checkpoints: Option<Checkpoints>,
    /// Keys that check the checkpoints that are there.
    pub trusted: Vec<VerifyingKey>,
    /// The file that keeps how far each collector has come; `None`: that is not kept.
    pub marks: Option<PathBuf>,
}

/// What was found at opening.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The last line before this start; `seq` 0: there is none.
    pub head: AuditHead,
    /// Torn bytes that were cut off, in all files.
    pub mended_bytes: u64,
    /// Files that do not end where the chain does. Each is also put on record. An operator should hear of it: lines were lost
    /// or changed while no broker ran, or the files were moved away then.
    pub breaks: Vec<Break>,
}

/// Where a file and the chain part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Break {
    /// The file.
    pub sink: String,
    /// What should be there.
    pub expected: AuditHead,
    /// What is there.
    pub found: Option<AuditHead>,
    /// What is wrong with the lines before it, where it is the one that should be there.
    pub why: Option<String>,
}

/// A line was not written, or the log could not be opened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AuditError {
    /// A file cannot be used. At start only.
    #[error("audit sink {}: {why}", file.display())]
    Open {
        /// Which.
        file: PathBuf,
        /// Why.
        why: String,
    },
    /// A file holds another chain.
    #[error("audit file {} holds the chain {found:?}, this broker's is {expected:?}: move it away, or restore the store it belongs to", file.display())]
    OtherChain {
        /// Which.
        file: PathBuf,
        /// Whose it is.
        found: String,
        /// Ours.
        expected: String,
    },
    /// Too many lines wait.
    #[error("the audit log is too slow: {limit} lines wait already (audit_waiting_lines_max)")]
    Full {
        /// The limit.
        limit: u64,
    },
    /// A required sink did not take the lines.
    #[error("the audit log cannot be written: {0}")]
    NotWritten(Arc<str>),
    /// A sink has not answered: a disk or a reader that hangs.
    #[error("the audit log did not take the line within {milliseconds} ms (audit_write_milliseconds_max)")]
    Slow {
        /// The limit.
        milliseconds: u64,
    },
    /// The event is too large for a line.
    #[error("an audit line of {bytes} bytes is too long, {LINE_BYTES_MAX} are allowed")]
    TooLong {
        /// Its size.
        bytes: usize,
    },
    /// The log was closed.
    #[error("the audit log is closed")]
    Closed,
}

/// The audit log. Clones share it.
#[derive(Clone)]
pub struct AuditLog {
    jobs: mpsc::Sender<Job>,
    shared: Arc<Shared>,
    waiting_max: u64,
    patience: Duration,
}

/// What the writer's thread and the handles share.
pub struct Shared {
    pub head: Mutex<AuditHead>,
    pub config_hash: ArcSwap<String>,
    pub writable: AtomicBool,
    /// Lines that were handed to the thread and not answered for.
    pub waiting: AtomicU64,
    /// When the group being written was begun, in milliseconds of the boot clock; [`IDLE`]: none is.
    pub busy_since: AtomicU64,
}

/// No group is being written.
pub const IDLE: u64 = u64::MAX;

impl AuditLog {
    /// Opens the sinks, finds where the chain goes on and starts the writer. Blocks on files: for start-up.
    ///
    /// # Errors
    /// A file cannot be opened, is not a log, is another chain's, or is being written by another process. A full disk is none
    /// of these: the log then opens, is not [`writable`](Self::writable), and recovers by itself.
    pub fn open(mut options: OpenOptions) -> Result<(Self, Opened), AuditError> {
        let mut files = Vec::new();
        let open = |sink: &AuditSink| Ok((open_sink(&sink.to, &options, &mut files)?, sink.required));
        let sinks = options.sinks.iter().map(open).collect::<Result<Vec<_>, AuditError>>()?;
        let (head_file, kept) = head_file(&options, files.is_empty())?;
        let known = [options.known_head.clone(), kept].into_iter().flatten().max_by_key(|head| head.seq);
        let mut start = start::decide(&files, known.as_ref());
        let opened = Opened {
            head: start.head.clone(),
            mended_bytes: start.preface.iter().map(cut_bytes).sum(),
            breaks: std::mem::take(&mut start.breaks),
        };
        let marks = Marks::read(options.marks.clone(), &options.chain);
        let mut members = Vec::new();
        for (sink, required) in sinks {
            let has = marks.of(sink.name()).filter(|_| sink.is_collector()).cloned();
            let has = has.unwrap_or_else(|| Mark::of(&start.head, &start.head));
            let missed = start::missed(sink.name(), &has, &start.head, &files, options.limits.audit_buffer_bytes_max);
            start.preface.extend(missed.lost);
            members.push(Member { sink, required, last: has.certain, owed: missed.groups });
        }
        let preface = start.preface.iter().map(encode).collect::<Result<_, _>>()?;
        let checkpoints = options.checkpoints.take();
        let beginning = Beginning { head: start.head, preface, checkpoints, marks, head_file };
        Ok((Self::start(options, members, beginning)?, opened))
    }

    /// Starts the writer over `members`.
    pub(super) fn start(options: OpenOptions, members: Vec<Member>, beginning: Beginning) -> Result<Self, AuditError> {
        let shared = Arc::new(Shared {
            head: Mutex::new(beginning.head.clone()),
            config_hash: ArcSwap::from_pointee(options.config_hash),
            writable: AtomicBool::new(true),
            waiting: AtomicU64::new(0),
            busy_since: AtomicU64::new(IDLE),
        });
        let sync = Duration::from_millis(options.limits.audit_fsync_milliseconds_max);
        let origin = Origin { chain: options.chain, broker: options.broker };
        let (jobs, received) = mpsc::channel();
        let patience = Duration::from_millis(options.limits.audit_write_milliseconds_max);
        let waiting_max = options.limits.audit_waiting_lines_max;
        let log = Self { jobs, shared: Arc::clone(&shared), waiting_max, patience };
        Outputs::new(members, sync, options.limits.audit_buffer_bytes_max, &options.metrics)
            .map(|outputs| Writer::new(shared, outputs, origin, options.metrics, beginning))
            .and_then(|writer| writer::spawn(writer, received))
            .map_err(|why| AuditError::NotWritten(format!("no thread for it: {why}").into()))?;
        Ok(log)
    }

    /// Puts `event` on record. Returns when every required sink's `write(2)` of it has returned (and the sync, where
    /// `audit_fsync_milliseconds_max` is 0). A caller that stops waiting does not take the line back.
    ///
    /// # Errors
    /// Nothing may be handed out on the strength of this line: it may or may not be on record.
    pub async fn write(&self, event: Event) -> Result<(), AuditError> {
        self.write_all(std::slice::from_ref(&event)).await
    }

    /// Puts several events on record, one after the other with nothing between them, as [`write`](Self::write) does.
    ///
    /// # Errors
    /// As for [`write`](Self::write); none, some or all may be on record.
    pub async fn write_all(&self, events: &[Event]) -> Result<(), AuditError> {
        let lines: Vec<Vec<u8>> = events.iter().map(encode).collect::<Result<_, _>>()?;
        let count = lines.len() as u64;
        // A full log refuses; one call larger than the limit is still taken when nothing waits.
        let before = self.shared.waiting.fetch_add(count, Ordering::AcqRel);
        if before > 0 && before + count > self.waiting_max {
            self.shared.waiting.fetch_sub(count, Ordering::AcqRel);
            return Err(AuditError::Full { limit: self.waiting_max });
        }
        let (reply, answer) = oneshot::channel();
        if self.jobs.send(Job::Lines { lines, reply }).is_err() {
            self.shared.waiting.fetch_sub(count, Ordering::AcqRel);
            return Err(AuditError::Closed);
        }
        match tokio::time::timeout(self.patience, answer).await {
            Ok(answer) => answer.unwrap_or(Err(AuditError::Closed)),
            Err(_) => Err(AuditError::Slow { milliseconds: self.patience.as_millis() as u64 }),
        }
    }

    /// Whether the required sinks took the last lines, and none hangs: for readiness. When not, it is tried again every second.
    pub fn writable(&self) -> bool {
        let since = self.shared.busy_since.load(Ordering::Acquire);
        let hangs = clock::boot().saturating_sub(Duration::from_millis(since)) >= self.patience;
        self.shared.writable.load(Ordering::Acquire) && !hangs
    }

    /// The last line written; `seq` 0: none ever was. The store should keep it now and then.
    pub fn head(&self) -> AuditHead {
        self.shared.head.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lines handed in and not answered for.
    pub fn waiting(&self) -> u64 {
        self.shared.waiting.load(Ordering::Acquire)
    }

    /// Later lines carry this configuration hash.
    pub fn set_config_hash(&self, hash: String) {
        self.shared.config_hash.store(Arc::new(hash));
    }

    /// Writes what waits, syncs and closes. Lines handed in afterwards, by any clone, are refused. Waits as long as the sinks
    /// take: shutdown has a deadline of its own.
    ///
    /// # Errors
    /// The sinks could not be synced, or the log was closed before.
    pub async fn close(&self) -> Result<(), AuditError> {
        let (reply, answer) = oneshot::channel();
        self.jobs.send(Job::Close { reply }).map_err(|_| AuditError::Closed)?;
        answer.await.unwrap_or(Err(AuditError::Closed))
    }
}

/// An event as the JSON object that goes into its line.
pub(super) fn encode(event: &Event) -> Result<Vec<u8>, AuditError> {
    let bytes = serde_json::to_vec(event).expect("an event is plain JSON with text keys");
    match bytes.len() + LINE_HEAD_BYTES_MAX {
        fits if fits <= LINE_BYTES_MAX => Ok(bytes),
        long => Err(AuditError::TooLong { bytes: long }),
    }
}

/// Where no sink is a file, another file tells where the chain ended.
fn head_file(options: &OpenOptions, needed: bool) -> Result<(Option<HeadFile>, Option<AuditHead>), AuditError> {
    let Some(marks) = options.marks.as_ref().filter(|_| needed) else { return Ok((None, None)) };
    let path = marks.with_file_name("audit-head.json");
    let (file, head) = HeadFile::open(&path, &options.chain)
        .map_err(|why| AuditError::Open { file: path.clone(), why: why.to_string() })?;
    Ok((Some(file), head))
}

/// Opens a sink; what is found in a file is added to `files`.
fn open_sink(to: &AuditTo, options: &OpenOptions, files: &mut Vec<FoundFile>) -> Result<Box<dyn Sink>, AuditError> {
    let (name, patience) = (to.to_string(), Duration::from_millis(options.limits.audit_send_milliseconds_max));
    let open = |why: std::io::Error| AuditError::Open { file: to.to_string().into(), why: why.to_string() };
    Ok(match to {
        AuditTo::File(path) => {
            let (sink, found) = start::open_file(path, options)?;
            files.push(found);
            Box::new(sink)
        }
        AuditTo::Stdout => Box::new(StdoutSink::open().map_err(open)?),
        AuditTo::Syslog(to) => Box::new(SyslogSink::new(name, to.clone(), patience).map_err(open)?),
        AuditTo::Https(to) => Box::new(HttpsSink::new(name, to.clone(), patience).map_err(open)?),
    })
}

fn cut_bytes(event: &Event) -> u64 {
    match event {
        Event::Mended { cut_bytes, .. } => *cut_bytes,
        _ => 0,
    }
}
