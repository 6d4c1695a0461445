//! Asking again and again.

use std::fs;
use std::path::Path;
use std::sync::Weak;
use std::time::Duration;

use tokio::time::sleep;

use super::BundleEndpoint;
use super::fetch::fetch;
use crate::bundle::{BundleError, TrustBundle};
use crate::limits::{BUNDLE_REFRESH_MS_DEFAULT, BUNDLE_REFRESH_MS_MAX, BUNDLE_REFRESH_MS_MIN, BUNDLE_RETRY_MS_MIN};
use crate::{Identity, TrustDomain, clock, files};

/// Other users may know what is public.
const KEPT_MODE: u32 = 0o644;

/// Puts into the identity what the endpoint gives, until the identity is gone. What was good stays in use and in its file while
/// the endpoint is away or talks rubbish; an empty bundle is a good one, and ends everybody of its domain.
pub(crate) async fn follow(identity: Weak<Identity>, domain: TrustDomain, endpoint: BundleEndpoint) {
    let mut pause = Pause::default();
    loop {
        let Some(alive) = identity.upgrade() else { return };
        let fetched = fetch(&alive, &endpoint).await;
        let job = (alive, domain.clone(), endpoint.clone());
        // A thread of its own: files are written and read, and parsing takes its time.
        let hint = tokio::task::spawn_blocking(move || {
            let (identity, domain, endpoint) = job;
            take(&identity, &domain, &endpoint, fetched)
        });
        match hint.await {
            Ok(Some(hint)) => pause.after_success(hint),
            Ok(None) => {}
            Err(_) => return,
        }
        sleep(pause.next()).await;
    }
}

/// Takes what was fetched into use if it is good, and answers its refresh hint.
fn take(
    identity: &Identity,
    domain: &TrustDomain,
    endpoint: &BundleEndpoint,
    fetched: Result<Vec<u8>, String>,
) -> Option<Option<Duration>> {
    let judged = fetched.and_then(|document| {
        let in_use = identity.snapshot().bundles.get(domain).and_then(|bundle| bundle.bundle.sequence());
        let hint = judge(&document, in_use).map_err(|error| format!("its bundle is not usable: {error}"))?;
        Ok((document, hint))
    });
    match judged {
        Ok((document, hint)) => {
            if let Some(path) = endpoint.kept() {
                keep(path, &document);
            }
            identity.fetched(domain, endpoint, |fetched| {
                fetched.document = Some(document);
                fetched.trouble = None;
            });
            identity.reload();
            Some(hint)
        }
        Err(why) => {
            identity.fetched(domain, endpoint, |fetched| fetched.trouble = Some(why));
            identity.reload();
            None
        }
    }
}

/// The refresh hint of a good document.
fn judge(document: &[u8], in_use: Option<u64>) -> Result<Option<Duration>, BundleError> {
    let bundle = TrustBundle::parse_spiffe(document, clock::now_unix_ms())?;
    match (bundle.sequence(), in_use) {
        (Some(found), Some(in_use)) if found < in_use => Err(BundleError::SequenceBack { found, in_use }),
        _ => Ok(bundle.refresh_hint()),
    }
}

/// Keeping a copy is for the next start; without it this one goes on.
fn keep(path: &Path, document: &[u8]) {
    if fs::read(path).is_ok_and(|kept| kept == document) {
        return;
    }
    let made = path.parent().map_or(Ok(()), fs::create_dir_all);
    if let Err(error) = made.and_then(|()| files::write_atomically(path, document, KEPT_MODE)) {
        tracing::warn!(%error, file = %path.display(), "the last good bundle cannot be kept for the next start");
    }
}

/// How long to wait before asking again.
#[derive(Debug)]
struct Pause {
    /// Before there was any success: longer each time, up to `interval_ms`.
    first_ms: Option<u64>,
    /// Afterwards always this, failure or not (Federation 6.2).
    interval_ms: u64,
}

impl Default for Pause {
    fn default() -> Self {
        Self { first_ms: Some(BUNDLE_RETRY_MS_MIN), interval_ms: BUNDLE_REFRESH_MS_DEFAULT }
    }
}

impl Pause {
    fn after_success(&mut self, hint: Option<Duration>) {
        self.first_ms = None;
        let hint_ms = hint.map(|hint| u64::try_from(hint.as_millis()).unwrap_or(u64::MAX));
        self.interval_ms =
            hint_ms.unwrap_or(BUNDLE_REFRESH_MS_DEFAULT).clamp(BUNDLE_REFRESH_MS_MIN, BUNDLE_REFRESH_MS_MAX);
    }

    fn next(&mut self) -> Duration {
        let ms = match self.first_ms {
            Some(ms) => {
                self.first_ms = Some((ms * 2).min(self.interval_ms));
                ms
            }
            None => self.interval_ms,
        };
        Duration::from_millis(ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_as_long_as_it_is_told_within_reason() {
        let mut pause = Pause::default();
        let first: Vec<_> = (0..12).map(|_| pause.next().as_millis()).collect();
        assert_eq!(first[..3], [1000, 2000, 4000]);
        assert_eq!(first[11], u128::from(BUNDLE_REFRESH_MS_DEFAULT));
        let mut after = |hint: Option<u64>| {
            pause.after_success(hint.map(Duration::from_secs));
            pause.next().as_secs()
        };
        assert_eq!(after(Some(60)), 60);
        assert_eq!(after(None), 300);
        assert_eq!(after(Some(0)), 1);
        assert_eq!(after(Some(u64::MAX)), 24 * 3600);
    }
}
