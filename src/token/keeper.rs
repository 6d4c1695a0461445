//! Keeps the issuer supplied: makes keys when they are due, reads those that other brokers made, and forgets those that are over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use leasehold_sdk::Timestamp;
use tokio::task::spawn_blocking;

use super::discovery::{Addresses, Documents};
use super::issuer::{InForce, Issuer, Keys};
use super::key::{self, KeyError, KeyLine, TokenKey};
use super::published::keys_fresh;
use super::purpose::Purpose;
use super::schedule::{self, Generation, Rules};
use super::{LIFE_MAX, TokenConfig};
use crate::seal::{KeyRing, Place, SealError};
use crate::store::{SealedRow, SealedState, Store, StoreError};

/// What the sealed secrets of this module are.
const KIND: &str = "token_key";

/// The state of a key that signs.
const ACTIVE: &str = "active";

/// For clocks that differ, and for verifiers that give a token a little time.
const AFTER_THE_LAST: Duration = Duration::from_secs(300);

/// The keys are not as they should be.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// They cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// One cannot be made or read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// One cannot be sealed or opened.
    #[error("signing key {name} {generation}: {why}")]
    Seal {
        /// Its purpose.
        name: String,
        /// Its generation.
        generation: u64,
        /// Why.
        why: SealError,
    },
    /// The task that makes keys failed.
    #[error("a signing key could not be made; the log has more")]
    Task,
}

/// Keeps an issuer's keys.
pub struct Keeper {
    issuer: Arc<Issuer>,
    store: Arc<dyn Store>,
    ring: Arc<KeyRing>,
    cluster: String,
}

impl Keeper {
    /// Of this issuer; the keys are in `store`, sealed by `ring`.
    pub fn new(issuer: Arc<Issuer>, store: Arc<dyn Store>, ring: Arc<KeyRing>, cluster: String) -> Self {
        issuer.attach(store.clone());
        Self { issuer, store, ring, cluster }
    }

    /// Makes what is due, and brings the issuer what holds at `now`. `wanted`: what there is to be signed.
    /// Answers the generations that it made.
    ///
    /// # Errors
    /// See [`KeeperError`]. What is wrong with one key keeps no other from its work.
    pub async fn look(
        &self,
        config: &TokenConfig,
        addresses: &Addresses,
        wanted: &BTreeSet<Purpose>,
        now: Timestamp,
    ) -> Result<Vec<(Purpose, u64)>, KeeperError> {
        self.issuer.lists.keep(&*self.store, now).await?;
        let (mut made, mut wrong) = (Vec::new(), None);
        let kept = self.kept().await?;
        for purpose in wanted {
            let rows = kept.get(purpose).map_or(&[] as &[_], Vec::as_slice);
            if schedule::at(&generations(rows), &rules(config), now).is_due {
                match self.make(*purpose, rows, now).await {
                    Ok(generation) => made.extend(generation.map(|generation| (*purpose, generation))),
                    Err(error) => wrong = Some(error),
                }
            }
        }
        let kept = if made.is_empty() { kept } else { self.kept().await? };
        wrong = self.bring(config, addresses, kept, now).await?.or(wrong);
        wrong.map_or(Ok(made), Err)
    }

    /// Brings the issuer what holds of what is kept. Answers what was wrong with a key that was passed over.
    async fn bring(
        &self,
        config: &TokenConfig,
        addresses: &Addresses,
        kept: BTreeMap<Purpose, Vec<SealedRow>>,
        now: Timestamp,
    ) -> Result<Option<KeeperError>, KeeperError> {
        let (mut signing, mut published, mut lines, mut wrong) = (BTreeMap::new(), Keys::default(), Vec::new(), None);
        for (purpose, rows) in kept {
            let at = schedule::at(&generations(&rows), &rules(config), now);
            for row in rows {
                if at.over.contains(&row.generation) {
                    self.store.remove_sealed(KIND, &row.name, row.generation).await?;
                    continue;
                }
                let key = match self.known(purpose, &row) {
                    Ok(key) => key,
                    Err(error) => {
                        wrong = Some(error);
                        continue;
                    }
                };
                let state = state_of(row.generation, at.signs);
                if state == ACTIVE {
                    signing.insert(purpose, key.clone());
                }
                let kid = key.kid.clone();
                lines.push(KeyLine { purpose, generation: row.generation, kid, state, made_at: row.made_at });
                published.add(key);
            }
        }
        let documents = Documents::of(config, addresses, &published);
        let (issuer, cluster, keys_fresh) = (config.issuer.clone(), self.cluster.clone(), keys_fresh(config));
        self.issuer.put(InForce { issuer, cluster, signing, published, documents, keys_fresh, lines });
        Ok(wrong)
    }

    /// Makes another key for each of these purposes now, whatever the schedule. It signs once verifiers can know of it; in an emergency
    /// at once, and all before it are gone: every token that they signed is worth nothing as soon as a verifier has read the keys again.
    ///
    /// # Errors
    /// See [`KeeperError`].
    pub async fn rotate(
        &self,
        purposes: &BTreeSet<Purpose>,
        emergency: bool,
        now: Timestamp,
    ) -> Result<Vec<(Purpose, u64)>, KeeperError> {
        let mut made = Vec::new();
        for purpose in purposes {
            let rows = self.kept().await?.remove(purpose).unwrap_or_default();
            let Some(generation) = self.make(*purpose, &rows, now).await? else { continue };
            made.push((*purpose, generation));
            if emergency {
                // After the new one is durable: a crash between leaves keys, never none.
                for row in rows {
                    self.store.remove_sealed(KIND, &row.name, row.generation).await?;
                }
            }
        }
        Ok(made)
    }

    /// Reads what other brokers have ended, and nothing else: for a broker whose clock makes nothing now.
    ///
    /// # Errors
    /// [`KeeperError::Store`].
    pub async fn listen(&self, now: Timestamp) -> Result<(), KeeperError> {
        Ok(self.issuer.lists.read(&*self.store, now).await?)
    }

    /// Forgets what nobody can ask for any more, `limit` ends of tokens at most. Answers how many.
    ///
    /// # Errors
    /// [`KeeperError::Store`].
    pub async fn purge(&self, now: Timestamp, limit: usize) -> Result<u64, KeeperError> {
        Ok(self.issuer.lists.purge(&*self.store, now, limit).await?)
    }

    async fn kept(&self) -> Result<BTreeMap<Purpose, Vec<SealedRow>>, KeeperError> {
        let mut kept: BTreeMap<Purpose, Vec<SealedRow>> = BTreeMap::new();
        for row in self.store.sealed().await?.into_iter().filter(|row| row.kind == KIND) {
            // One of a newer program's.
            let Some(purpose) = Purpose::named(&row.name) else { continue };
            kept.entry(purpose).or_default().push(row);
        }
        Ok(kept)
    }

    /// The new generation; `None`: another broker was quicker.
    async fn make(&self, purpose: Purpose, before: &[SealedRow], now: Timestamp) -> Result<Option<u64>, KeeperError> {
        let secret = spawn_blocking(move || key::make(purpose.algorithm())).await.map_err(|_| KeeperError::Task)??;
        let generation = before.iter().map(|row| row.generation).max().unwrap_or(0) + 1;
        let name = purpose.name().to_owned();
        let sealed = self.ring.seal(&self.place(&name, generation), &secret);
        let sealed = sealed.map_err(|why| KeeperError::Seal { name: name.clone(), generation, why })?;
        let row =
            SealedRow { kind: KIND.to_owned(), name, generation, state: SealedState::Current, sealed, made_at: now };
        Ok(self.store.put_sealed(&row).await?.then_some(generation))
    }

    /// A key that the issuer has already, or one that is opened now.
    fn known(&self, purpose: Purpose, row: &SealedRow) -> Result<Arc<TokenKey>, KeeperError> {
        if let Some(key) = self.issuer.key_sealed_as(purpose, &row.sealed.blob) {
            return Ok(key);
        }
        let (name, generation) = (row.name.clone(), row.generation);
        let opened = self.ring.open(&self.place(&name, generation), &row.sealed);
        let opened = opened.map_err(|why| KeeperError::Seal { name, generation, why })?;
        Ok(Arc::new(TokenKey::read(purpose, &opened, row.sealed.blob.clone())?))
    }

    fn place<'a>(&'a self, name: &'a str, generation: u64) -> Place<'a> {
        Place { cluster: &self.cluster, table: "sealed", kind: KIND, name, generation }
    }
}

/// What a generation is for, when `signs` is the one that signs.
fn state_of(generation: u64, signs: Option<u64>) -> &'static str {
    match signs {
        Some(active) if generation == active => ACTIVE,
        Some(active) if generation < active => "retiring",
        _ => "next",
    }
}

fn rules(config: &TokenConfig) -> Rules {
    Rules {
        publish_before: config.publish_before,
        keep_after: LIFE_MAX + AFTER_THE_LAST,
        rotate_every: config.rotate_every,
    }
}

fn generations(rows: &[SealedRow]) -> Vec<Generation> {
    let mut all: Vec<_> = rows.iter().map(|row| Generation { number: row.generation, made_at: row.made_at }).collect();
    all.sort_by_key(|one| one.number);
    all
}
