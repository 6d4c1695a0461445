//! Another password for an admin login, and another key for all that is sealed.

use std::sync::Arc;

use leasehold_sdk::{failpoint, random};
use secrecy::SecretString;

use super::super::authorize::Deed;
use super::super::mint::away;
use super::super::{Broker, Failure, RequestId};
use super::{KEPT, KIND, copy, place};
use crate::audit::Event;
use crate::domain::caller::Caller;
use crate::domain::grant::Action;
use crate::engine::TargetHandle;
use crate::seal::{RecoveryEntry, SealError};
use crate::store::{SealedRow, SealedState};

/// What a rotation came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotated {
    /// Which password is in force now.
    pub generation: u64,
    /// Whether it is in the recovery file too.
    pub recoverable: bool,
}

impl Broker {
    /// Gives the admin login of a target a password that nobody has seen.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn rotate_admin(
        self: &Arc<Self>,
        caller: &Caller,
        request: &RequestId,
        target: &str,
        no_recovery: bool,
    ) -> Result<Rotated, Failure> {
        let (this, caller, request, target) = (self.clone(), caller.clone(), request.clone(), target.to_owned());
        self.to_the_end(async move {
            let current = this.current();
            let permit =
                this.authorize(&current.config.rules, &caller, &request, Deed::on_broker(Action::Admin)).await?;
            let handle = current.engines.get(&target).ok_or(Failure::NotFound)?.clone();
            this.rotate_on_record(&handle, no_recovery, permit.decision_id).await
        })
        .await
    }

    /// Puts on record that it is begun and what came of it, and does it.
    pub(super) async fn rotate_on_record(
        &self,
        target: &TargetHandle,
        no_recovery: bool,
        decision_id: String,
    ) -> Result<Rotated, Failure> {
        let told = |operation: &str, detail| Event::Operation {
            operation: operation.to_owned(),
            decision_id: decision_id.clone(),
            detail,
        };
        self.audit.write(told("rotate_admin", serde_json::json!({ "target": target.name }))).await?;
        let outcome = self.rotate_now(target, no_recovery).await;
        let detail = match &outcome {
            Ok(done) => serde_json::json!({
                "target": target.name, "generation": done.generation, "recoverable": done.recoverable,
            }),
            Err(why) => serde_json::json!({ "target": target.name, "failed": why.to_string() }),
        };
        // It is done: its line may be late, but it must not be lost.
        self.keep_for_audit(&told("rotate_admin_outcome", detail)).await?;
        outcome
    }

    async fn rotate_now(&self, target: &TargetHandle, no_recovery: bool) -> Result<Rotated, Failure> {
        let bad = |why: &str| Failure::Bad { what: format!("target {:?}", target.name), why: why.to_owned() };
        let secrets = target.engine().admin_secrets().ok_or_else(|| bad("it has no admin password to rotate"))?;
        if self.custody.ring.is_none() {
            return Err(bad("nothing can be sealed: the configuration has no [seal] with a key"));
        }
        if self.custody.recovery.is_none() && !no_recovery {
            return Err(bad(
                "nobody could recover the new password if store and seal key were lost: set seal.recovery_recipients and \
                 seal.recovery_file, or say no_recovery (--no-recovery)",
            ));
        }
        self.keep_admin_secrets().await?;
        let next = Arc::new(random::password());
        let row = self.seal_next(target, &next).await?;
        failpoint::hit("rotate.sealed");
        let recoverable = self.make_recoverable(&row, &next).await?;
        failpoint::hit("rotate.recoverable");
        // The engine is told before the target: whatever happens now, it knows both.
        self.keep_admin_secrets().await?;
        target.set_admin_password(&next).await.map_err(|e| away(target, &e))?;
        failpoint::hit("rotate.proved");
        self.store.promote_sealed(KIND, &target.name, row.generation, KEPT).await?;
        secrets.prove(None);
        self.keep_admin_secrets().await?;
        tracing::warn!(target_name = %target.name, generation = row.generation, "the admin login has a new password");
        Ok(Rotated { generation: row.generation, recoverable })
    }

    /// The next generation, sealed, in the store and beside it.
    async fn seal_next(&self, target: &TargetHandle, next: &SecretString) -> Result<SealedRow, Failure> {
        let mut rows = self.rows_of(&target.name).await?;
        let generation = rows.iter().map(|row| row.generation).max().unwrap_or(0) + 1;
        let cluster = self.current().config.broker.cluster.clone();
        let ring = self.custody.ring.as_ref().ok_or_else(Failure::failed_inside)?;
        let row = SealedRow {
            kind: KIND.to_owned(),
            name: target.name.clone(),
            generation,
            state: SealedState::Next,
            sealed: ring.seal(&place(cluster.as_str(), &target.name, generation), next).map_err(sealing)?,
            made_at: self.clock.now(),
        };
        if !self.store.put_sealed(&row).await? {
            return Err(Failure::Bad {
                what: format!("target {:?}", target.name),
                why: format!("another broker is rotating to generation {generation} just now"),
            });
        }
        rows.push(row.clone());
        copy::keep(&self.custody.dir, &target.name, &rows)
            .map_err(|e| Failure::StoreAway { why: format!("the copy of the sealed passwords: {e}") })?;
        self.custody.forget(&target.name);
        Ok(row)
    }

    /// Whether there was anybody to make it recoverable for.
    async fn make_recoverable(&self, row: &SealedRow, next: &Arc<SecretString>) -> Result<bool, Failure> {
        let Some(recovery) = self.custody.recovery.clone() else { return Ok(false) };
        let cluster = self.current().config.broker.cluster.to_string();
        let (row, next) = (row.clone(), next.clone());
        let append = move || {
            recovery.append(&RecoveryEntry {
                cluster: &cluster,
                target: &row.name,
                generation: row.generation,
                at: row.made_at.to_string(),
                secret: &next,
            })
        };
        tokio::task::spawn_blocking(append).await.map_err(|_| Failure::failed_inside())?.map_err(sealing)?;
        Ok(true)
    }

    /// Seals everything by the current key. Answers how many texts it sealed anew, and how many no key opens.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn rotate_seal(self: &Arc<Self>, caller: &Caller, request: &RequestId) -> Result<(u64, u64), Failure> {
        let (this, caller, request) = (self.clone(), caller.clone(), request.clone());
        self.to_the_end(async move {
            let rules = this.current().config.rules.clone();
            let permit = this.authorize(&rules, &caller, &request, Deed::on_broker(Action::Admin)).await?;
            let (resealed, unreadable) = this.reseal_all().await?;
            let detail = serde_json::json!({ "resealed": resealed, "unreadable": unreadable });
            let event = Event::Operation { operation: "seal_rotate".into(), decision_id: permit.decision_id, detail };
            this.keep_for_audit(&event).await?;
            Ok((resealed, unreadable))
        })
        .await
    }

    async fn reseal_all(&self) -> Result<(u64, u64), Failure> {
        let ring = self.custody.ring.as_ref().ok_or_else(|| Failure::Bad {
            what: "seal".into(),
            why: "nothing is sealed: the configuration has no [seal] with a key".into(),
        })?;
        let cluster = self.current().config.broker.cluster.clone();
        let (mut resealed, mut unreadable) = (0, 0);
        for row in self.store.sealed().await? {
            if row.sealed.key_id == *ring.current() {
                continue;
            }
            let place = crate::seal::Place { kind: &row.kind, ..place(cluster.as_str(), &row.name, row.generation) };
            match ring.open(&place, &row.sealed) {
                // One that has changed meanwhile was sealed by somebody else just now.
                Ok(secret) => {
                    let fresh = ring.seal(&place, &secret).map_err(sealing)?;
                    resealed += u64::from(self.store.reseal(&row, &fresh).await?);
                }
                Err(why) => {
                    tracing::error!(name = %row.name, generation = row.generation, why = %why, "it cannot be sealed anew");
                    unreadable += 1;
                }
            }
        }
        self.keep_admin_secrets().await?;
        Ok((resealed, unreadable))
    }
}

fn sealing(why: SealError) -> Failure {
    Failure::StoreAway { why: why.to_string() }
}
