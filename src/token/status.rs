//! Status lists: how verifiers that never ask the broker learn that a token has ended before its time (Token Status List).
//!
//! Each broker hands out places in a list of its own, which is recorded before any token points at it. What has ended is recorded in
//! the store, and every broker on it knows all lists: whichever is asked can tell.
//!
//! A list says when its broker last read the store (`iat`), and is good for so long from then: a broker that does not hear of the others
//! any more never tells as new what it knew long ago.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use data_encoding::HEXLOWER;
use leasehold_sdk::{StatusSlot, Timestamp, Withdrawal, clock, random};
use serde_json::{Map, Value, json};

use super::LIFE_MAX;
use super::bits::{bits, packed};
use super::key::{KeyError, TokenKey};
use crate::store::{Facts, StoreError, TokenStatus};

/// Places in one list: 16 KiB before they are packed, and every list has all of them from its beginning.
const PLACES: u32 = 1 << 17;

/// How long verifiers keep a list: so much later than its end a token may still be taken by them.
pub const TTL: Duration = Duration::from_secs(60);

/// How long what a list says is good: for verifiers that cannot reach us for a while, and for us, while we cannot reach the store.
const GOOD_FOR: Duration = Duration::from_secs(600);

/// A list is signed anew when it is this old: whoever gets it has most of its time before him.
const SIGNED_AGAIN: Duration = Duration::from_secs(15);

/// How long places of one list are handed out: then another is begun, so that old ones can be forgotten.
const LIST_LIFE: Duration = Duration::from_secs(24 * 3600);

/// For clocks that differ.
const MARGIN: Duration = Duration::from_secs(300);

/// So far back ends are read again each time: one may have been recorded before the last look, and not yet have been there to be seen.
const NEAR: Duration = Duration::from_secs(10);

/// So far back now and then: for what took longer, and for a store whose clock was set, such as that of another server in its place.
const FAR: Duration = Duration::from_secs(900);

/// How often that is.
const FAR_EVERY: Duration = Duration::from_secs(60);

/// The lists as this broker knows them.
#[derive(Default)]
pub(super) struct StatusLists(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// Whose places are handed out, and the one after.
    open: Option<Open>,
    spare: Option<Open>,
    lists: HashMap<String, List>,
    read: Option<Read>,
}

/// The last time that all was read.
#[derive(Clone, Copy)]
struct Read {
    /// By the broker's clock.
    at: Timestamp,
    /// By the boot-time clock.
    boot: Duration,
    /// By the store's.
    to: Timestamp,
    /// The last time that it went far back, by the boot-time clock.
    far: Duration,
}

struct Open {
    name: String,
    next: u32,
    begun: Timestamp,
}

#[derive(Default)]
struct List {
    /// The places whose tokens have ended, and when those would have ended anyway.
    ended: BTreeMap<u32, Timestamp>,
    signed: Option<Signed>,
}

struct Signed {
    document: Arc<str>,
    /// When what it says was read, by the boot-time clock.
    read: Duration,
    by: String,
}

impl StatusLists {
    fn known<R>(&self, with: impl FnOnce(&mut Known) -> R) -> R {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A place that no other token has. `None`: no list is open.
    pub(super) fn slot(&self) -> Option<StatusSlot> {
        self.known(|known| {
            if known.open.as_ref().is_none_or(|open| open.next >= PLACES) {
                known.open = known.spare.take();
            }
            let open = known.open.as_mut()?;
            let index = open.next;
            open.next += 1;
            Some(StatusSlot { list: open.name.clone(), index })
        })
    }

    /// Reads what others began and ended, and begins lists before they are needed. To be called every second.
    pub(super) async fn keep<S: TokenStatus + Facts + ?Sized>(
        &self,
        store: &S,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.read(store, now).await?;
        let old = |open: &Open| open.begun.plus(LIST_LIFE) <= now;
        let wanted = self.known(|known| {
            known.open.as_ref().is_none_or(|open| old(open) || open.next > PLACES / 2)
                && known.spare.as_ref().is_none_or(old)
        });
        if wanted {
            let name = HEXLOWER.encode(&random::bytes::<16>());
            store.begin_token_list(&name, now).await?;
            self.known(|known| {
                known.lists.entry(name.clone()).or_default();
                known.spare = Some(Open { name, next: 0, begun: now });
                if known.open.as_ref().is_none_or(old) {
                    known.open = known.spare.take();
                }
            });
        }
        Ok(())
    }

    /// Reads what others began and ended.
    pub(super) async fn read<S: TokenStatus + Facts + ?Sized>(
        &self,
        store: &S,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (boot, last) = (clock::boot(), self.known(|known| known.read));
        let goes_far = last.is_none_or(|last| boot.saturating_sub(last.far) >= FAR_EVERY);
        let back = if goes_far { FAR } else { NEAR };
        let since = last.map_or(Timestamp::from_unix_ms(0), |last| last.to.minus(back));
        // The clock first: what is recorded while we read is read again.
        let to = store.clock().await?;
        let lists: HashSet<String> = store.token_lists().await?.into_iter().collect();
        let ended = store.withdrawn_tokens(since).await?;
        self.known(|known| {
            known.lists.retain(|name, _| lists.contains(name));
            for name in lists {
                known.lists.entry(name).or_default();
            }
            known.note(&ended);
            if goes_far {
                known.lists.values_mut().for_each(|list| list.forget(now));
            }
            let far = last.filter(|_| !goes_far).map_or(boot, |last| last.far);
            known.read = Some(Read { at: now, boot, to, far });
        });
        Ok(())
    }

    /// Records ends, and knows them.
    pub(super) async fn withdraw<S: TokenStatus + ?Sized>(
        &self,
        store: &S,
        ended: &[Withdrawal],
    ) -> Result<(), StoreError> {
        store.withdraw_tokens(ended).await?;
        self.known(|known| known.note(ended));
        Ok(())
    }

    /// Forgets what is over, `limit` ends at most. Answers how many.
    pub(super) async fn purge<S: TokenStatus + ?Sized>(
        &self,
        store: &S,
        now: Timestamp,
        limit: usize,
    ) -> Result<u64, StoreError> {
        // The last token of a list is made at the end of its life, and lives as long as a token can.
        let begun = now.minus(LIST_LIFE + LIFE_MAX + MARGIN);
        store.purge_token_status(now.minus(MARGIN), begun, limit).await
    }

    /// The names of all lists.
    pub(super) fn names(&self) -> Vec<String> {
        self.known(|known| known.lists.keys().cloned().collect())
    }

    /// A list as a signed token (section 5.1). `None`: there is no such list, or what is known of it is too old to be told.
    pub(super) fn document(&self, issuer: &str, name: &str, key: &TokenKey) -> Option<Result<Arc<str>, KeyError>> {
        self.document_at(clock::boot(), issuer, name, key)
    }

    fn document_at(
        &self,
        boot: Duration,
        issuer: &str,
        name: &str,
        key: &TokenKey,
    ) -> Option<Result<Arc<str>, KeyError>> {
        self.known(|known| {
            let read = known.read.filter(|read| boot.saturating_sub(read.boot) < GOOD_FOR)?;
            let list = known.lists.get_mut(name)?;
            let fresh = |signed: &&Signed| signed.by == key.kid && read.boot.saturating_sub(signed.read) < SIGNED_AGAIN;
            if let Some(signed) = list.signed.as_ref().filter(fresh) {
                return Some(Ok(signed.document.clone()));
            }
            Some(list.sign(&format!("{issuer}/oauth2/status/{name}"), key, read))
        })
    }
}

impl Known {
    fn note(&mut self, ended: &[Withdrawal]) {
        for Withdrawal { slot, until } in ended {
            let list = self.lists.entry(slot.list.clone()).or_default();
            if list.ended.insert(slot.index, *until).is_none() {
                list.signed = None;
            }
        }
    }
}

impl List {
    /// What would have ended by now is told a little longer, for clocks that are behind ours.
    fn forget(&mut self, now: Timestamp) {
        self.ended.retain(|_, until| until.plus(MARGIN) > now);
    }

    fn sign(&mut self, uri: &str, key: &TokenKey, read: Read) -> Result<Arc<str>, KeyError> {
        let content = packed(&bits(PLACES, self.ended.keys().copied()));
        let seconds = read.at.unix_ms().div_euclid(1000);
        let claims = json!({
            "sub": uri,
            "iat": seconds,
            "exp": seconds + GOOD_FOR.as_secs() as i64,
            "ttl": TTL.as_secs(),
            "status_list": { "bits": 1, "lst": content },
        });
        let claims: Map<String, Value> = claims.as_object().cloned().unwrap_or_default();
        let document = key.sign_open("statuslist+jwt", &claims)?;
        self.signed = Some(Signed { document: document.clone(), read: read.boot, by: key.kid.clone() });
        Ok(document)
    }
}

/// The places that are set in a document.
#[cfg(test)]
pub(super) fn set_in(document: &str) -> Vec<u32> {
    let packed = decode(claims_of(document)["status_list"]["lst"].as_str().unwrap());
    let bytes = miniz_oxide::inflate::decompress_to_vec_zlib(&packed).unwrap();
    (0..PLACES).filter(|place| bytes[*place as usize / 8] >> (place % 8) & 1 == 1).collect()
}

#[cfg(test)]
fn claims_of(document: &str) -> Value {
    serde_json::from_slice(&decode(document.split('.').nth(1).unwrap())).unwrap()
}

#[cfg(test)]
fn decode(text: &str) -> Vec<u8> {
    data_encoding::BASE64URL_NOPAD.decode(text.as_bytes()).unwrap()
}

#[cfg(test)]
mod tests {
    use leasehold_sdk::JwtAlgorithm;

    use super::super::key::make;
    use super::super::purpose::Purpose;
    use super::*;
    use crate::limits::Limits;
    use crate::store::Opener;
    use crate::store::sqlite::Sqlite;

    async fn scratch() -> (Sqlite, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let opener = Opener { cluster: "test".parse().unwrap(), broker: "b1".to_owned() };
        let (path, limits) = (dir.path().join("store.db"), Limits::default());
        let store = Sqlite::open(&path, &opener, &limits, Arc::default());
        (store.await.unwrap(), dir)
    }

    fn key() -> TokenKey {
        TokenKey::read(Purpose::Tokens(JwtAlgorithm::Es256), &make(JwtAlgorithm::Es256).unwrap(), String::new())
            .unwrap()
    }

    #[tokio::test]
    async fn no_two_tokens_share_a_place_and_each_list_is_known_before_it_is_used() {
        let (store, _dir) = scratch().await;
        let lists = StatusLists::default();
        assert_eq!(lists.slot(), None, "no list is recorded yet");
        let now = clock::wall();
        lists.keep(&store, now).await.unwrap();
        let first = lists.slot().unwrap();
        assert_eq!((first.index, lists.slot().unwrap().index), (0, 1));
        for _ in 2..PLACES {
            assert_eq!(lists.slot().unwrap().list, first.list);
            if lists.known(|known| known.open.as_ref().unwrap().next) == PLACES / 2 + 2 {
                lists.keep(&store, now).await.unwrap();
            }
        }
        let next = lists.slot().unwrap();
        assert!(next.list != first.list && next.index == 0);
        // Another day, another list.
        lists.keep(&store, now.plus(LIST_LIFE)).await.unwrap();
        assert_ne!(lists.slot().unwrap().list, next.list);
        assert_eq!(store.token_lists().await.unwrap().len(), 3);
    }

    #[tokio::test]
    async fn every_broker_on_a_store_tells_what_has_ended() {
        let (store, _dir) = scratch().await;
        let (one, other, key) = (StatusLists::default(), StatusLists::default(), key());
        let now = clock::wall();
        one.keep(&store, now).await.unwrap();
        let (gone, _stays) = (one.slot().unwrap(), one.slot().unwrap());
        let document = |lists: &StatusLists| lists.document("https://i", &gone.list, &key).map(|d| d.unwrap());
        assert_eq!(set_in(&document(&one).unwrap()), Vec::<u32>::new());
        assert!(document(&other).is_none() && one.document("https://i", "x", &key).is_none());
        let until = now.plus(Duration::from_secs(60));
        one.withdraw(&store, &[Withdrawal { slot: gone.clone(), until }]).await.unwrap();
        other.keep(&store, now).await.unwrap();
        for lists in [&one, &other] {
            assert_eq!(set_in(&document(lists).unwrap()), [gone.index]);
        }
        // Asked again and again, nothing is signed.
        assert_eq!(document(&one), document(&one));
        // What would have ended anyway is forgotten, a list that no token can point at as well.
        assert_eq!(one.purge(&store, until.plus(MARGIN * 2), 9).await.unwrap(), 1);
        assert!(store.withdrawn_tokens(Timestamp::from_unix_ms(0)).await.unwrap().is_empty());
        one.purge(&store, now.plus(LIST_LIFE + LIFE_MAX + MARGIN * 2), 9).await.unwrap();
        one.read(&store, now).await.unwrap();
        assert!(document(&one).is_none());
    }

    /// A broker that cannot read the store any more does not know what others end.
    #[tokio::test]
    async fn what_was_read_long_ago_is_not_told_as_new() {
        let (store, _dir) = scratch().await;
        let (lists, key, now) = (StatusLists::default(), key(), clock::wall());
        lists.keep(&store, now).await.unwrap();
        let slot = lists.slot().unwrap();
        let after = |age: Duration| {
            let document = lists.document_at(clock::boot() + age, "https://i", &slot.list, &key);
            document.map(|document| document.unwrap())
        };
        let seconds = now.unix_ms() / 1000;
        let said =
            |age| after(age).map(|document| (claims_of(&document)["iat"].clone(), claims_of(&document)["exp"].clone()));
        assert_eq!(said(Duration::ZERO), Some((json!(seconds), json!(seconds + 600))));
        let first = after(Duration::ZERO);
        assert_eq!(after(GOOD_FOR - Duration::from_secs(30)), first, "nothing newer is known: nothing is signed");
        // What is known of the own ends is no word on those of others.
        lists.withdraw(&store, &[Withdrawal { slot: slot.clone(), until: now.plus(LIFE_MAX) }]).await.unwrap();
        assert_eq!(said(GOOD_FOR / 2), Some((json!(seconds), json!(seconds + 600))));
        assert_eq!(set_in(&after(GOOD_FOR / 2).unwrap()), [slot.index]);
        assert_eq!(after(GOOD_FOR), None);
        lists.read(&store, now.plus(GOOD_FOR)).await.unwrap();
        lists.known(|known| known.lists.get_mut(&slot.list).unwrap().signed = None);
        assert_eq!(said(Duration::ZERO), Some((json!(seconds + 600), json!(seconds + 1200))));
    }

    /// Ends of what would have ended anyway take no memory.
    #[tokio::test]
    async fn what_is_over_is_forgotten_here_too() {
        let (store, _dir) = scratch().await;
        let (lists, now) = (StatusLists::default(), clock::wall());
        lists.keep(&store, now).await.unwrap();
        let slot = lists.slot().unwrap();
        lists.withdraw(&store, &[Withdrawal { slot: slot.clone(), until: now }]).await.unwrap();
        let known = || lists.known(|known| known.lists[&slot.list].ended.len());
        lists.read(&store, now.plus(MARGIN)).await.unwrap();
        assert_eq!(known(), 1, "not at each look");
        lists.known(|known| known.read = None);
        lists.read(&store, now.plus(MARGIN)).await.unwrap();
        assert_eq!(known(), 0);
    }
}
