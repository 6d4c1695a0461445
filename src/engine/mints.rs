//! Mints of one target: a bounded queue, in which identities take turns, and a few lanes. A lane takes whatever queued while
//! it was busy, so that batches form under load and nobody waits for a timer.

use std::sync::Arc;
use std::time::Duration;

use leasehold_sdk::{Engine, EngineError, MintOrder, Minted, Throughput, clock};
use tokio::sync::oneshot;

use super::circuit::Circuit;
use super::turns::{Entrance, Turns, turns};

/// How long past its deadline a mint may still be answered by the target, before we stop listening.
const ANSWER_GRACE: Duration = Duration::from_secs(2);

/// One mint that waits for its target.
pub(super) struct Waiting {
    /// What to make.
    pub order: MintOrder,
    /// Boot time after which it is not sent any more.
    pub give_up_at: Duration,
    /// Where its answer goes.
    pub answer: oneshot::Sender<Result<Minted, EngineError>>,
}

/// Starts the lanes; they end when the last entrance is dropped and the queue is empty.
pub(super) fn start_lanes(
    engine: &Arc<dyn Engine>,
    throughput: Throughput,
    queue: usize,
    circuit: &Arc<Circuit>,
) -> Entrance<Waiting> {
    let (entrance, waiting) = turns(queue);
    for _ in 0..throughput.mint_lanes.max(1) {
        tokio::spawn(lane(engine.clone(), throughput.mint_batch_max.max(1), waiting.clone(), circuit.clone()));
    }
    entrance
}

async fn lane(engine: Arc<dyn Engine>, batch_max: usize, queue: Arc<Turns<Waiting>>, circuit: Arc<Circuit>) {
    loop {
        let batch = queue.take(batch_max).await;
        if batch.is_empty() {
            return;
        }
        let now = clock::boot();
        let (late, ready): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|w| w.give_up_at <= now || w.answer.is_closed());
        for waiting in late {
            let _ = waiting.answer.send(Err(EngineError::retry("it waited too long for its turn at the target")));
        }
        match circuit.admit() {
            // Those that queued before it opened.
            Err(e) => ready.into_iter().for_each(|w| drop(w.answer.send(Err(e.clone())))),
            Ok(()) if ready.is_empty() => {}
            Ok(()) => carry_out(&engine, ready).await,
        }
    }
}

async fn carry_out(engine: &Arc<dyn Engine>, ready: Vec<Waiting>) {
    let latest = ready.iter().map(|w| w.give_up_at).max().unwrap_or_default();
    let listen = latest.saturating_sub(clock::boot()) + ANSWER_GRACE;
    let (orders, answers): (Vec<_>, Vec<_>) = ready.into_iter().map(|w| (w.order, w.answer)).unzip();
    let engine = engine.clone();
    // A task of its own: should an engine panic, its lane lives on and the outcome is what it is, unknown.
    let call = tokio::spawn(async move { tokio::time::timeout(listen, engine.mint(orders)).await });
    let mut results = match call.await {
        Ok(Ok(results)) => results.into_iter(),
        Ok(Err(_)) | Err(_) => Vec::new().into_iter(),
    };
    for answer in answers {
        let unknown = || Err(EngineError::unknown("the target did not answer in time"));
        let _ = answer.send(results.next().unwrap_or_else(unknown));
    }
}
