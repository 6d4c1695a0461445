//! Small duties of the broker: the clock's watch, the outbox of audit lines, what must be kept for the next start.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use leasehold_sdk::failpoint;
use tokio::sync::watch;

use super::Broker;
use crate::audit::Event;
use crate::store::{OutboxEntry, OutboxLine, StoreError};

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(2);

/// Longest wait for a bell before the outbox is looked at again.
const OUTBOX_LOOK: Duration = Duration::from_secs(1);

/// Between two lines that count refusals.
const COUNT_EVERY: Duration = Duration::from_secs(60);

/// Lines moved from the outbox to the log at once.
const OUTBOX_BATCH: usize = 500;

/// Clock, marks and small memories, every two seconds.
pub(super) async fn rounds(broker: Arc<Broker>, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        if let Err(e) = broker.round().await {
            tracing::warn!(error = %e, "the store cannot be reached for housekeeping; it is tried again");
        }
        tokio::select! {
            () = tokio::time::sleep(ROUND) => {}
            _ = stop.changed() => {}
        }
    }
    // The last word of this run: the next one starts from it.
    let _ = broker.keep_marks().await;
}

/// Moves the audit lines of endings from the store to the log, in their order, until the broker stops and none is left.
pub(super) async fn outbox(broker: Arc<Broker>, mut stop: watch::Receiver<bool>) {
    loop {
        let stopping = *stop.borrow();
        match broker.move_lines().await {
            Ok(0) if stopping => return,
            Ok(0) => broker.audit_is_behind.store(false, Ordering::Release),
            Ok(_) => continue,
            Err(e) => {
                broker.audit_is_behind.store(true, Ordering::Release);
                tracing::warn!(error = %e, "audit lines of endings wait in the store");
                if stopping {
                    return;
                }
            }
        }
        tokio::select! {
            () = broker.changes.outbox.notified() => {}
            () = tokio::time::sleep(OUTBOX_LOOK) => {}
            _ = stop.changed() => {}
        }
    }
}

/// Puts the number of refused handshakes that were not audited one by one on record, once a minute.
pub(super) async fn refused_handshakes(broker: Arc<Broker>, mut stop: watch::Receiver<bool>) {
    tokio::select! {
        () = broker.gate.run(&broker.audit) => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

/// Puts the number of refusals that were too many for lines of their own on record, once a minute.
pub(super) async fn refusals(broker: Arc<Broker>, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        tokio::select! {
            () = tokio::time::sleep(COUNT_EVERY) => {}
            _ = stop.changed() => {}
        }
        let count = broker.refusals_counted.swap(0, Ordering::Relaxed);
        if count > 0 && broker.audit.write(Event::RefusalsCounted { count }).await.is_err() {
            broker.refusals_counted.fetch_add(count, Ordering::Relaxed);
        }
    }
}

impl Broker {
    async fn round(&self) -> Result<(), StoreError> {
        let limits = self.current().config.limits.clone();
        let was_off = self.clock.trouble().is_some();
        let skew_ms = self.clock.compare(&*self.store, &limits).await?;
        self.metrics.clock_skew(skew_ms);
        match (was_off, self.clock.trouble()) {
            (false, Some(why)) => tracing::error!(why = %why, "the clock is off: nothing is minted or reaped"),
            (true, None) => tracing::info!("the clock is right again"),
            _ => {}
        }
        self.rates.forget_quiet();
        self.end_idle_loops().await?;
        self.beat().await?;
        if self.unfit().is_some() {
            return Ok(());
        }
        self.read_holds().await?;
        self.keep_admin_secrets().await?;
        self.rotate_what_is_due().await?;
        self.keep_marks().await
    }

    async fn keep_marks(&self) -> Result<(), StoreError> {
        if self.clock.may_be_kept() {
            self.store.raise_high_water(self.clock.now()).await?;
        }
        self.keep_audit_head().await
    }

    /// The head of the chain, so that a cut tail is found later.
    pub(super) async fn keep_audit_head(&self) -> Result<(), StoreError> {
        let head = self.audit.head();
        if head.seq == 0 { Ok(()) } else { self.store.keep_audit_head(&self.chain, &head).await }
    }

    /// Answers how many lines were moved.
    async fn move_lines(&self) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
        // They are another process's to write.
        if self.unfit().is_some() {
            return Ok(0);
        }
        let lines = self.store.outbox(OUTBOX_BATCH).await?;
        if lines.is_empty() {
            return Ok(0);
        }
        let numbers: Vec<i64> = lines.iter().map(|line| line.number).collect();
        let events: Vec<Event> = lines.into_iter().map(event_of).collect();
        self.audit.write_all(&events).await?;
        failpoint::hit("outbox.written");
        self.store.outbox_done(&numbers).await?;
        Ok(numbers.len())
    }
}

fn event_of(line: OutboxLine) -> Event {
    match line.entry {
        OutboxEntry::Lease(change) => {
            Event::Lease { change, changed_at: line.at, expires_at: None, outbox: Some(line.number) }
        }
        OutboxEntry::Event(mut event) => {
            event.insert("changed_at".into(), line.at.to_string().into());
            event.insert("outbox".into(), line.number.into());
            Event::Kept(event)
        }
    }
}
