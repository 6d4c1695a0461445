//! Waiting for a condition, and names that nobody else has.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Waits until `condition` gives `true`, and panics after `timeout` with `what`, which reads on "in vain for: ".
///
/// # Panics
/// When the condition does not come true in time.
#[track_caller]
pub fn wait_until<F: Future<Output = bool>>(
    timeout: Duration,
    what: &str,
    mut condition: impl FnMut() -> F,
) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + timeout;
        while !condition().await {
            assert!(Instant::now() < deadline, "{caller}: waited {timeout:?} in vain for: {what}");
            sleep(LOOK_EVERY).await;
        }
    }
}

/// A name made of `prefix` and a number that no other caller in this process gets: roles belong to a whole server, and
/// tests share servers.
#[must_use]
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{prefix}{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_returns_once_the_condition_holds() {
        let mut looks = 0;
        wait_until(Duration::from_secs(60), "three looks", || {
            looks += 1;
            std::future::ready(looks == 3)
        })
        .await;
        assert_eq!(looks, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "in vain for: rain")]
    async fn it_names_what_did_not_come() {
        wait_until(Duration::from_millis(50), "rain", || std::future::ready(false)).await;
    }
}
