//! Callers of one service, and what they have seen.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::ground::Line;

/// As many as a service's pool has connections.
pub const MANY: u64 = 16;

/// Beside other tests.
pub const SOME: u64 = 8;

/// Enough to see failures, and to measure how long an operation takes.
pub const FEW: u64 = 4;

/// How many failures are kept by their words.
const WORDS_MAX: usize = 3;

/// A service that fails does not ask again at once.
const PAUSE: Duration = Duration::from_millis(20);

/// What a load has seen.
#[derive(Default)]
pub struct Seen {
    pub done: u64,
    pub failed: u64,
    /// The first failures.
    pub words: Vec<String>,
    /// How much longer each operation took than it was told to.
    added: Vec<Duration>,
}

impl Seen {
    /// The time added to one operation that only one in a hundred exceeds.
    pub fn p99(&self) -> Duration {
        let mut added = self.added.clone();
        added.sort_unstable();
        added.get(added.len() * 99 / 100).copied().unwrap_or_default()
    }

    fn add(&mut self, other: Self) {
        self.done += other.done;
        self.failed += other.failed;
        self.words.extend(other.words);
        self.words.truncate(WORDS_MAX);
        self.added.extend(other.added);
    }
}

/// A load that goes on until it is told to end.
pub struct Load {
    stop: Arc<AtomicBool>,
    workers: JoinSet<Seen>,
}

/// Transactions of 5 to 120 ms by so many callers, each one after the other.
pub fn begin(service: SocketAddr, callers: u64) -> Load {
    let (stop, mut workers) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
    for worker in 0..callers {
        workers.spawn(work(service, worker, stop.clone()));
    }
    Load { stop, workers }
}

impl Load {
    /// Lets each finish what is under way.
    pub async fn end(mut self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Seen::default();
        while let Some(seen) = self.workers.join_next().await {
            all.add(seen.expect("a caller that does not panic"));
        }
        all
    }
}

async fn work(service: SocketAddr, worker: u64, stop: Arc<AtomicBool>) -> Seen {
    let mut seen = Seen::default();
    let wire = TcpStream::connect(service).await.expect("the service listens");
    wire.set_nodelay(true).expect("no delay");
    let mut line = Line::over(wire);
    let mut round = worker;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        let milliseconds = 5 + (round * 37 + worker * 11) % 116;
        let begun = Instant::now();
        let answer = line.ask("POST", &format!("/orders?ms={milliseconds}"), None).await;
        if answer.status == 200 {
            seen.done += 1;
            seen.added.push(begun.elapsed().saturating_sub(Duration::from_millis(milliseconds)));
        } else {
            seen.failed += 1;
            if seen.words.len() < WORDS_MAX {
                seen.words.push(format!("{answer:?}"));
            }
            sleep(PAUSE).await;
        }
    }
    seen
}
