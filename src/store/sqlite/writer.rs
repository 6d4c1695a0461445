//! The one task that writes. What queued while it was at the disk is made in one transaction: group commit.
//!
//! Bulk work (what is due, orders, purges, lines for the audit log) has a queue of its own and takes turns with everything
//! else: a mint waits for one such change at most, however many there are.
//!
//! A change carries its own conditions and is whole in itself, so that any number of them can share a transaction. When one
//! fails, the group is rolled back and each is made alone: one bad change harms no other. Whoever waits for a change may go
//! away; the change is made all the same.

use std::any::{Any, TypeId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use leasehold_sdk::clock;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};
use tokio::sync::{Mutex, Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::super::StoreError;
use super::Written;
use super::file::{self, Lock};
use super::outcome::failed;
use crate::telemetry::metrics::Metrics;

/// The most changes in one transaction: they wait for each other, and are made again one by one when one fails.
const GROUP_MAX: usize = 256;

/// One change. It may be applied more than once, each time to a transaction whose predecessor was rolled back.
#[async_trait]
pub(super) trait Op: Send + Sync + 'static {
    /// What its caller is told.
    type Answer: Send + 'static;

    /// Whether it touches many rows, and so takes its turn behind what somebody waits for.
    const BULK: bool = false;

    /// Whether [`apply`](Self::apply) is one statement, and so is whole without a transaction around it.
    const ONE_STATEMENT: bool = false;

    /// Makes the change within the transaction that is open.
    async fn apply(&self, db: &mut SqliteConnection) -> Result<Self::Answer, StoreError>;

    /// Makes several of this kind; one answer each, in their order. Each statement is a trip to another thread, so what is
    /// done often does them all in one.
    async fn apply_all(ops: &[&Self], db: &mut SqliteConnection) -> Result<Vec<Self::Answer>, StoreError> {
        let mut answers = Vec::with_capacity(ops.len());
        for op in ops {
            answers.push(op.apply(db).await?);
        }
        Ok(answers)
    }
}

/// The way to the task that writes.
pub(super) struct Writer {
    queue: mpsc::Sender<Box<dyn Job>>,
    bulk: mpsc::Sender<Box<dyn Job>>,
    waiting_max: usize,
    counts: Arc<Counts>,
    stop: Arc<Notify>,
    task: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Counts {
    changes: AtomicU64,
    commits: AtomicU64,
}

impl Writer {
    /// Starts the task. It holds `lock` until it has ended.
    pub(super) fn start(
        db: SqliteConnection,
        options: SqliteConnectOptions,
        lock: Lock,
        waiting_max: usize,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(waiting_max);
        let (bulk, waiting_bulk) = mpsc::channel(waiting_max);
        let (counts, stop) = (Arc::new(Counts::default()), Arc::new(Notify::new()));
        let desk = Desk { db: Some(db), options, counts: Arc::clone(&counts), metrics, _lock: lock };
        let task = tokio::spawn(desk.work(waiting, waiting_bulk, Arc::clone(&stop)));
        Self { queue, bulk, waiting_max, counts, stop, task: Mutex::new(Some(task)) }
    }

    /// Queues a change and waits until it is durable.
    pub(super) async fn write<O: Op>(&self, op: O) -> Result<O::Answer, StoreError> {
        let (reply, answer) = oneshot::channel();
        let queue = if O::BULK { &self.bulk } else { &self.queue };
        queue.try_send(Box::new(Waiting { op, made: None, reply })).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => StoreError::Unavailable(format!(
                "{} changes wait for its disk already (limit store_waiting_writes_max)",
                self.waiting_max
            )),
            mpsc::error::TrySendError::Closed(_) => closed(),
        })?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Lets the changes that wait be made, then ends the task.
    pub(super) async fn stop(&self) {
        self.stop.notify_one();
        if let Some(task) = self.task.lock().await.take() {
            // An error is a panic of the task: there is nothing left to wait for.
            let _ = task.await;
        }
    }

    pub(super) fn written(&self) -> Written {
        Written {
            changes: self.counts.changes.load(Ordering::Relaxed),
            commits: self.counts.commits.load(Ordering::Relaxed),
        }
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("it is closed".to_owned())
}

/// A change of any kind, as the task sees it.
#[async_trait]
trait Job: Send {
    /// Makes it, and with it those that are of the same kind.
    async fn apply(&mut self, alike: &mut [Box<dyn Job>], db: &mut SqliteConnection) -> Result<(), StoreError>;
    fn answer(self: Box<Self>, outcome: Result<(), StoreError>);
    fn kind(&self) -> TypeId;
    fn one_statement(&self) -> bool;
    fn as_any(&mut self) -> &mut dyn Any;
}

struct Waiting<O: Op> {
    op: O,
    made: Option<O::Answer>,
    reply: oneshot::Sender<Result<O::Answer, StoreError>>,
}

#[async_trait]
impl<O: Op> Job for Waiting<O> {
    async fn apply(&mut self, alike: &mut [Box<dyn Job>], db: &mut SqliteConnection) -> Result<(), StoreError> {
        let others = alike.iter_mut().filter_map(|job| job.as_any().downcast_mut::<Self>());
        let mut all: Vec<&mut Self> = std::iter::once(self).chain(others).collect();
        let ops: Vec<&O> = all.iter().map(|waiting| &waiting.op).collect();
        let mut answers = O::apply_all(&ops, db).await?.into_iter();
        all.iter_mut().for_each(|waiting| waiting.made = answers.next());
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        let Waiting { made, reply, .. } = *self;
        // Nobody may be waiting any more: the change stands.
        let _ = reply.send(outcome.and_then(|()| made.ok_or_else(closed)));
    }

    fn kind(&self) -> TypeId {
        TypeId::of::<O>()
    }

    fn one_statement(&self) -> bool {
        O::ONE_STATEMENT
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

/// Where in a group's way it failed.
enum Failed {
    /// In a change: the others may still be good.
    Change(StoreError),
    /// Before the first or at the commit: it is the store, not a change.
    Whole(StoreError),
}

/// The task's own things. `db` is `None` after an error that may have left the connection in doubt.
struct Desk {
    db: Option<SqliteConnection>,
    options: SqliteConnectOptions,
    counts: Arc<Counts>,
    metrics: Arc<Metrics>,
    _lock: Lock,
}

impl Desk {
    async fn work(
        mut self,
        mut waiting: mpsc::Receiver<Box<dyn Job>>,
        mut bulk: mpsc::Receiver<Box<dyn Job>>,
        stop: Arc<Notify>,
    ) {
        let mut group = Vec::with_capacity(GROUP_MAX);
        loop {
            tokio::select! {
                biased;
                taken = waiting.recv_many(&mut group, GROUP_MAX), if !waiting.is_closed() || !waiting.is_empty() => {
                    if taken > 0 {
                        self.make(std::mem::take(&mut group)).await;
                    }
                    // Its turn, so that those who come one after the other never keep it waiting.
                    if let Ok(one) = bulk.try_recv() {
                        self.make(vec![one]).await;
                    }
                }
                taken = bulk.recv() => match taken {
                    Some(one) => self.make(vec![one]).await,
                    None => break,
                },
                () = stop.notified() => {
                    waiting.close();
                    bulk.close();
                }
            }
        }
        if let Some(db) = self.db.take() {
            // Copies the log into the file, so that what is left behind is one file.
            let _ = db.close().await;
        }
    }

    async fn make(&mut self, mut group: Vec<Box<dyn Job>>) {
        match self.together(&mut group).await {
            Ok(()) => group.into_iter().for_each(|job| job.answer(Ok(()))),
            Err(Failed::Change(_)) if group.len() > 1 => {
                for mut job in group {
                    let outcome = self.together(std::slice::from_mut(&mut job)).await;
                    job.answer(outcome.map_err(|(Failed::Change(e) | Failed::Whole(e))| e));
                }
            }
            Err(Failed::Change(e) | Failed::Whole(e)) => {
                group.into_iter().for_each(|job| job.answer(Err(e.clone())));
            }
        }
    }

    /// One transaction for all of `group`, made whole or not at all.
    async fn together(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), Failed> {
        let mut db = match self.db.take() {
            Some(db) => db,
            None => file::connect(&self.options).await.map_err(Failed::Whole)?,
        };
        let started = clock::boot();
        let outcome = attempt(&mut db, group).await;
        match &outcome {
            // A full disk or a failed read may have ended the transaction half-way: the next one starts on a new connection.
            Err(Failed::Whole(_) | Failed::Change(StoreError::Unavailable(_))) => drop(db),
            _ => self.db = Some(db),
        }
        if outcome.is_err() {
            self.metrics.store_failures.inc();
        } else {
            self.metrics.store_commit_seconds.observe((clock::boot() - started).as_secs_f64());
            self.metrics.store_group_size.observe(group.len() as f64);
            self.counts.commits.fetch_add(1, Ordering::Relaxed);
            self.counts.changes.fetch_add(group.len() as u64, Ordering::Relaxed);
        }
        outcome
    }
}

async fn attempt(db: &mut SqliteConnection, group: &mut [Box<dyn Job>]) -> Result<(), Failed> {
    if let [job] = group
        && job.one_statement()
    {
        return job.apply(&mut [], db).await.map_err(Failed::Change);
    }
    let whole = |e| Failed::Whole(failed(e));
    // Whoever waits for one has not asked for the next: changes of one group may be made in any order.
    group.sort_by_key(|job| job.kind());
    // IMMEDIATE: a lock that cannot be had is waited for here, never met half-way.
    let mut transaction = db.begin_with("BEGIN IMMEDIATE").await.map_err(whole)?;
    for alike in group.chunk_by_mut(|a, b| a.kind() == b.kind()) {
        let Some((job, alike)) = alike.split_first_mut() else { continue };
        if let Err(e) = job.apply(alike, &mut transaction).await {
            return Err(match transaction.rollback().await {
                // SQLite itself has ended a transaction that met a full disk; the connection is given up for that anyway.
                Err(undo) if !matches!(e, StoreError::Unavailable(_)) => whole(undo),
                _ => Failed::Change(e),
            });
        }
    }
    transaction.commit().await.map_err(whole)
}
