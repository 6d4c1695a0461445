//! Whether a token was ended before its time: the issuer's status lists, fetched and kept.

mod list;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::claims::StatusAt;
use super::fetch::Https;
use super::jws::Jws;
use super::kept::{Fetched, Kept};
use super::keys::Keys;
use super::{Refused, StatusPolicy, now};
use crate::clock;
use crate::limits::{STATUS_LISTS_MAX, STATUS_TOKEN_BYTES_MAX};
use list::StatusList;

const ACCEPT: &str = "application/statuslist+jwt";

/// The lists of one issuer.
pub(super) struct Statuses {
    policy: StatusPolicy,
    issuer: Arc<str>,
    leeway: Duration,
    keys: Keys,
    /// `None`: the keys come from files, and so there is nobody to ask.
    https: Option<Arc<Https>>,
    lists: Mutex<HashMap<String, Used>>,
}

struct Used {
    list: Arc<Kept<StatusList>>,
    /// When it was last asked for, on the boot-time clock.
    at: Duration,
}

impl Statuses {
    pub(super) fn new(
        policy: StatusPolicy,
        issuer: &str,
        leeway: Duration,
        keys: Keys,
        https: Option<Arc<Https>>,
    ) -> Self {
        Self { policy, issuer: issuer.into(), leeway, keys, https, lists: Mutex::default() }
    }

    /// Is the token of this place still good? Asks nobody while its list is fresh.
    ///
    /// # Errors
    /// [`Refused::Revoked`], or [`Refused::StatusNotKnown`] where the policy wants it known.
    pub(super) async fn check(&self, at: &StatusAt) -> Result<(), Refused> {
        // Whatever the policy: a list of somebody else is not one that the issuer can have meant.
        let is_ours = at.list.strip_prefix(&*self.issuer).is_some_and(|path| path.starts_with("/oauth2/status/"));
        if !is_ours {
            return Err(Refused::Malformed("its status list is not its issuer's"));
        }
        if self.policy == StatusPolicy::Ignore {
            return Ok(());
        }
        let list = match &self.https {
            Some(https) if self.policy == StatusPolicy::Require => self.kept(https, &at.list).get().await,
            Some(https) => self.kept(https, &at.list).get_if_prompt().await,
            None => Err("keys come from files, and status lists do not".to_owned()),
        };
        match (list, self.policy) {
            (Ok(list), _) => match list.value.is_ended(at.index) {
                Some(false) => Ok(()),
                Some(true) => Err(Refused::Revoked),
                // Section 8.3: a place that the list has not is never good.
                None => Err(Refused::StatusNotKnown { why: "its status list has no such place".to_owned() }),
            },
            (Err(why), StatusPolicy::Require) => Err(Refused::StatusNotKnown { why }),
            (Err(_), _) => Ok(()),
        }
    }

    fn kept(&self, https: &Arc<Https>, uri: &str) -> Arc<Kept<StatusList>> {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        let at = clock::boot();
        if let Some(used) = lists.get_mut(uri) {
            used.at = at;
            return Arc::clone(&used.list);
        }
        if lists.len() >= STATUS_LISTS_MAX
            && let Some(longest_ago) = lists.iter().min_by_key(|(_, used)| used.at).map(|(uri, _)| uri.clone())
        {
            lists.remove(&longest_ago);
        }
        let list = Arc::new(self.fetched(https, uri));
        lists.insert(uri.to_owned(), Used { list: Arc::clone(&list), at });
        list
    }

    fn fetched(&self, https: &Arc<Https>, uri: &str) -> Kept<StatusList> {
        let (https, keys, issuer) = (Arc::clone(https), self.keys.clone(), Arc::clone(&self.issuer));
        let (uri, leeway): (Arc<str>, _) = (uri.into(), self.leeway);
        Kept::new(move || {
            let (https, keys) = (Arc::clone(&https), keys.clone());
            let (issuer, uri) = (Arc::clone(&issuer), Arc::clone(&uri));
            async move {
                let answer = https.get(&uri, ACCEPT, STATUS_TOKEN_BYTES_MAX).await?;
                let told = |why: String| format!("{uri}: {why}");
                let refused = |refused: Refused| told(list::why(&refused));
                let text = std::str::from_utf8(&answer.body).map_err(|_| told("it is no text".to_owned()))?;
                let jws = Jws::parse(text.trim_ascii_end(), list::TYPE).map_err(refused)?;
                let claims = jws.verified(&*keys.find(&jws.kid).await.map_err(refused)?).map_err(refused)?;
                let value =
                    StatusList::read(&claims, &issuer, &uri, now(), leeway).map_err(|why| told(why.to_owned()))?;
                let (fresh_for, good_for) = (value.fresh_for, value.good_for);
                Ok(Fetched { value, fresh_for, good_for })
            }
        })
    }
}
