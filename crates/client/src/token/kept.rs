//! A copy of what somebody else has: fetched when it is needed, again before it is old, once for all who wait, and not more
//! often than is decent.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::clock;
use crate::limits::{ISSUER_FETCH_PAUSE, ISSUER_FETCH_TIME_MAX, ISSUER_FIRST_FETCH_PAUSE, ISSUER_STALE_WAIT_MAX};

/// From this share of its fresh time on it is fetched again while nobody waits for it.
const AHEAD: f64 = 0.8;

/// What was fetched.
pub(super) struct Fetched<T> {
    pub(super) value: T,
    /// How long it is as good as new.
    pub(super) fresh_for: Duration,
    /// How long it is better than nothing.
    pub(super) good_for: Duration,
}

type Fetching<T> = Pin<Box<dyn Future<Output = Result<Fetched<T>, String>> + Send>>;

/// The copy.
pub(super) struct Kept<T> {
    fetch: Box<dyn Fn() -> Fetching<T> + Send + Sync>,
    pause: Duration,
    held: ArcSwapOption<Held<T>>,
    tries: Mutex<Tries>,
    /// Counts the tries that have ended.
    ended: watch::Sender<u64>,
}

/// One copy with its age, on the boot-time clock.
pub(super) struct Held<T> {
    pub(super) value: T,
    due_at: Duration,
    stale_at: Duration,
    gone_at: Duration,
}

#[derive(Default)]
struct Tries {
    is_running: bool,
    /// When the last one ended.
    last: Option<Duration>,
    /// What it failed of.
    trouble: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    Fresh,
    /// To be fetched again, while it serves.
    Due,
    /// To be used only when there is no other.
    Stale,
    Gone,
}

impl<T> Held<T> {
    fn new(fetched: Fetched<T>, now: Duration) -> Self {
        let gone_at = now.saturating_add(fetched.good_for);
        let stale_at = now.saturating_add(fetched.fresh_for).min(gone_at);
        Self { value: fetched.value, due_at: now + (stale_at - now).mul_f64(AHEAD), stale_at, gone_at }
    }

    fn age(&self, now: Duration) -> Age {
        match now {
            now if now >= self.gone_at => Age::Gone,
            now if now >= self.stale_at => Age::Stale,
            now if now >= self.due_at => Age::Due,
            _ => Age::Fresh,
        }
    }
}

impl<T: Send + Sync + 'static> Kept<T> {
    /// Nothing yet; `fetch` brings it.
    pub(super) fn new<F>(fetch: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Fetched<T>, String>> + Send + 'static,
    {
        Self {
            fetch: Box::new(move || Box::pin(fetch())),
            pause: ISSUER_FETCH_PAUSE,
            held: ArcSwapOption::empty(),
            tries: Mutex::default(),
            ended: watch::Sender::new(0),
        }
    }

    /// With another pause between two fetches.
    pub(super) fn with_pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// The newest there is. Waits only where the one at hand is old or none is.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn get(self: &Arc<Self>) -> Result<Arc<Held<T>>, String> {
        self.get_within(ISSUER_FETCH_TIME_MAX).await
    }

    /// The same for who can do without: waits briefly, and not at all once the last try has failed.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn get_if_prompt(self: &Arc<Self>) -> Result<Arc<Held<T>>, String> {
        self.get_within(self.brief_wait()).await
    }

    async fn get_within(self: &Arc<Self>, wait: Duration) -> Result<Arc<Held<T>>, String> {
        match self.at_hand() {
            Some((held, Age::Fresh)) => return Ok(held),
            Some((held, Age::Due)) => {
                self.begin();
                return Ok(held);
            }
            Some((_, Age::Stale)) => self.again(self.brief_wait()).await,
            Some((_, Age::Gone)) | None => self.again(wait).await,
        }
        match self.at_hand() {
            Some((held, Age::Fresh | Age::Due | Age::Stale)) => Ok(held),
            _ => Err(self.lock().trouble.clone().unwrap_or_else(|| "it is being fetched".to_owned())),
        }
    }

    /// Whoever is away must not hold up everybody who asks: the fetch goes on without us.
    fn brief_wait(&self) -> Duration {
        if self.lock().trouble.is_some() { Duration::ZERO } else { ISSUER_STALE_WAIT_MAX }
    }

    /// One that was fetched after `held`, if there is one or one may be fetched at this time.
    pub(super) async fn newer_than(self: &Arc<Self>, held: &Arc<Held<T>>) -> Option<Arc<Held<T>>> {
        let newer = || self.held.load_full().filter(|now| !Arc::ptr_eq(now, held));
        if let Some(newer) = newer() {
            return Some(newer);
        }
        self.again(ISSUER_FETCH_TIME_MAX).await;
        newer()
    }

    fn at_hand(&self) -> Option<(Arc<Held<T>>, Age)> {
        let held = self.held.load_full()?;
        let age = held.age(clock::boot());
        Some((held, age))
    }

    /// Waits for the try that is under way, or for another if one may begin.
    async fn again(self: &Arc<Self>, wait: Duration) {
        if let Some(mut ended) = self.begin() {
            let _ = timeout(wait, ended.changed()).await;
        }
    }

    /// Begins a try, unless one is under way or the last is too recent. In a task of its own: a caller that hangs up must not
    /// end what others wait for. Tells when it has ended; `None`: there is none.
    fn begin(self: &Arc<Self>) -> Option<watch::Receiver<u64>> {
        let pause = if self.held.load().is_some() { self.pause } else { self.pause.min(ISSUER_FIRST_FETCH_PAUSE) };
        let mut tries = self.lock();
        let ended = self.ended.subscribe();
        if !tries.is_running {
            if tries.last.is_some_and(|last| clock::boot() < last.saturating_add(pause)) {
                return None;
            }
            tries.is_running = true;
            drop(tries);
            let running = Running(Arc::clone(self));
            tokio::spawn(async move { running.0.run().await });
        }
        Some(ended)
    }

    async fn run(&self) {
        let late = || Err(format!("there was no answer within {} s", ISSUER_FETCH_TIME_MAX.as_secs()));
        let trouble = match timeout(ISSUER_FETCH_TIME_MAX, (self.fetch)()).await.unwrap_or_else(|_| late()) {
            Ok(fetched) => {
                self.held.store(Some(Arc::new(Held::new(fetched, clock::boot()))));
                None
            }
            Err(why) => Some(why),
        };
        let mut tries = self.lock();
        // Once, and not again for each try.
        if let Some(why) = trouble.as_ref().filter(|_| tries.trouble != trouble) {
            tracing::warn!("{why}");
        }
        tries.trouble = trouble;
    }
}

impl<T> Kept<T> {
    fn lock(&self) -> MutexGuard<'_, Tries> {
        self.tries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A try. However it ends, the next can begin.
struct Running<T>(Arc<Kept<T>>);

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        let mut tries = self.0.lock();
        tries.is_running = false;
        tries.last = Some(clock::boot());
        drop(tries);
        self.0.ended.send_modify(|ended| *ended += 1);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_copy_ages() {
        let held = Held::new(Fetched { value: (), fresh_for: 100 * SECOND, good_for: 1000 * SECOND }, 50 * SECOND);
        for (now, age) in [(50, Age::Fresh), (129, Age::Fresh), (130, Age::Due), (150, Age::Stale), (1050, Age::Gone)] {
            assert_eq!(held.age(now * SECOND), age, "{now}");
        }
        let short = Held::new(Fetched { value: (), fresh_for: 100 * SECOND, good_for: SECOND }, SECOND);
        assert_eq!(short.age(2 * SECOND), Age::Gone, "never fresh beyond its end");
    }

    fn counting(fresh_for: Duration, fails_from: u64) -> (Arc<Kept<u64>>, Arc<AtomicU64>) {
        let count = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&count);
        let kept = Kept::new(move || {
            let value = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                tokio::task::yield_now().await;
                let fetched = Fetched { value, fresh_for, good_for: 1000 * SECOND };
                if value < fails_from { Ok(fetched) } else { Err("it is away".to_owned()) }
            }
        });
        (Arc::new(kept), count)
    }

    #[tokio::test]
    async fn many_who_ask_at_once_are_one_fetch() {
        let (kept, count) = counting(100 * SECOND, u64::MAX);
        let all = (0..100).map(|_| {
            let kept = Arc::clone(&kept);
            tokio::spawn(async move { kept.get().await.map(|held| held.value) })
        });
        for one in all.collect::<Vec<_>>() {
            assert_eq!(one.await.unwrap(), Ok(0));
        }
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn an_old_copy_serves_while_there_is_no_other() {
        let (kept, count) = counting(Duration::ZERO, 1);
        let kept = Arc::new(Arc::into_inner(kept).unwrap().with_pause(Duration::ZERO));
        assert_eq!(kept.get().await.map(|held| held.value), Ok(0));
        assert_eq!(kept.get().await.map(|held| held.value), Ok(0));
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn nobody_waits_for_who_is_known_to_be_away() {
        let count = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&count);
        let kept = Kept::<()>::new(move || {
            let number = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                match number {
                    0 => Ok(Fetched { value: (), fresh_for: Duration::ZERO, good_for: 1000 * SECOND }),
                    1 => Err("it is away".to_owned()),
                    _ => std::future::pending().await,
                }
            }
        });
        let kept = Arc::new(kept.with_pause(Duration::ZERO));
        kept.get().await.unwrap();
        kept.get().await.unwrap();
        for _ in 0..1000 {
            timeout(SECOND, async { (kept.get().await.unwrap(), kept.get_if_prompt().await.unwrap()) }).await.unwrap();
        }
        assert_eq!(count.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn why_there_is_none_is_told_and_nobody_is_asked_again_at_once() {
        let (kept, count) = counting(SECOND, 0);
        for _ in 0..10 {
            assert_eq!(kept.get().await.map(|held| held.value), Err("it is away".to_owned()));
        }
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }
}
