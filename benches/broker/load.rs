//! A closed loop: each of so many callers asks again as soon as it was answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::sync::Barrier;
use tokio::time::Instant;

/// Whoever asks for one credential after the other.
pub trait Caller: Send + 'static {
    /// Asks for one and has it.
    fn mint(&mut self) -> impl Future<Output = Result<()>> + Send;
}

/// When to stop, whichever comes first.
#[derive(Clone, Copy)]
pub struct Until {
    pub span: Duration,
    pub count: usize,
}

impl Until {
    pub fn span(span: Duration) -> Self {
        Self { span, count: usize::MAX }
    }

    pub fn count(count: usize) -> Self {
        Self { span: Duration::from_secs(60), count }
    }
}

/// What one measurement gave.
#[derive(Default)]
pub struct Sample {
    pub latencies: Vec<Duration>,
    pub elapsed: Duration,
}

impl Sample {
    pub fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }
}

/// Lets the first `n` callers loop until then. The time ends with the last answer, so that nothing that was begun is left
/// out.
pub async fn drive<C: Caller>(callers: &mut Vec<C>, n: usize, until: Until) -> Result<Sample> {
    let left = Arc::new(AtomicUsize::new(until.count));
    let start = Arc::new(Barrier::new(n + 1));
    let running: Vec<_> = callers
        .drain(..n)
        .map(|caller| tokio::spawn(one(caller, Arc::clone(&start), Arc::clone(&left), until.span)))
        .collect();
    start.wait().await;
    let begun = Instant::now();
    let mut sample = Sample::default();
    for task in running {
        let (caller, latencies) = task.await??;
        callers.push(caller);
        sample.latencies.extend(latencies);
    }
    sample.elapsed = begun.elapsed();
    Ok(sample)
}

async fn one<C: Caller>(
    mut caller: C,
    start: Arc<Barrier>,
    left: Arc<AtomicUsize>,
    span: Duration,
) -> Result<(C, Vec<Duration>)> {
    let mut latencies = Vec::new();
    start.wait().await;
    let begun = Instant::now();
    let mut now = begun;
    while now - begun < span && take(&left) {
        caller.mint().await?;
        let done = Instant::now();
        latencies.push(done - now);
        now = done;
    }
    Ok((caller, latencies))
}

fn take(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok()
}
