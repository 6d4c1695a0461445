//! Keeping the stream open.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::timeout;

use super::call::{Call, Failure, Pause};
use super::update::{Feed, Given};
use super::{Update, WorkloadApi};
use crate::limits::WORKLOAD_API_SILENCE_MS_MIN;
use crate::{Identity, clock};

/// Puts into the identity what the Workload API gives, until the identity is gone or asking is hopeless. What was good stays in
/// use while the Workload API is away.
pub(crate) async fn follow(identity: Weak<Identity>, api: WorkloadApi) {
    if api.is_exposed() {
        tracing::warn!(workload_api = %api, "private keys come from another host, unencrypted");
    }
    let mut pause = Pause::default();
    loop {
        let failure = match stream(&identity, &api, &mut pause).await {
            Some(failure) => failure,
            None => return,
        };
        let Some(alive) = identity.upgrade() else { return };
        let is_hopeless = matches!(failure, Failure::Hopeless(_));
        put(alive, &api, move |feed| feed.fail(&failure)).await;
        if is_hopeless {
            return;
        }
        pause.wait().await;
    }
}

/// One stream from its beginning to its end; `None` if the identity is gone.
async fn stream(identity: &Weak<Identity>, api: &WorkloadApi, pause: &mut Pause) -> Option<Failure> {
    let mut call = match Call::open(api).await {
        Ok(call) => call,
        Err(failure) => return Some(failure),
    };
    loop {
        let message = match timeout(silence(&*identity.upgrade()?), call.next()).await {
            Ok(Ok(message)) => message,
            Ok(Err(failure)) => return Some(failure),
            Err(_) => return Some(Failure::Broken("it was silent for long, so it is asked again".into())),
        };
        let update = Update::read(message, api);
        if update.is_ok() {
            *pause = Pause::default();
        }
        put(identity.upgrade()?, api, move |feed| match update {
            Ok(update) => feed.take(update),
            Err(discarded) => feed.trouble = Some(discarded),
        })
        .await;
    }
}

/// Until the own SVID ends: by then something new must have come.
fn silence(identity: &Identity) -> Duration {
    let left = identity.snapshot().svid().map_or(0, |svid| svid.not_after_ms - clock::now_unix_ms());
    Duration::from_millis(u64::try_from(left).unwrap_or(0).max(WORKLOAD_API_SILENCE_MS_MIN))
}

/// Changes the feed and lets it come into use.
async fn put(identity: Arc<Identity>, api: &WorkloadApi, change: impl FnOnce(&mut Feed) + Send + 'static) {
    let api = api.clone();
    // A thread of its own: files are read again too, and a file system that hangs must not hold up the runtime.
    let done = tokio::task::spawn_blocking(move || {
        identity.deliver(&api, change);
        identity.reload();
    });
    let _ = done.await;
}

impl Feed {
    fn take(&mut self, update: Update) {
        self.trouble = None;
        self.given = Given::Update(Arc::new(update));
    }

    fn fail(&mut self, failure: &Failure) {
        self.trouble = Some(failure.why().to_owned());
        let had = !matches!(self.given, Given::Nothing);
        if had && matches!(failure, Failure::Denied(_)) {
            self.given = Given::Withdrawn;
        }
    }
}
