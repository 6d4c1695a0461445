//! Identities that are refused everything, on every broker, on kept connections too.
//!
//! The statements that record a lease, make it active and announce a renewal look at the blocks themselves, so that no broker hands
//! anything out after a block is answered. Every other request of a blocked identity is refused by the list that each broker
//! keeps in memory and reads again twice a second.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use leasehold_identity::SpiffeId;
use leasehold_sdk::clock;
use tokio::sync::watch;

use super::authorize::{Decided, Deed};
use super::{Broker, Failure, RequestId};
use crate::audit::Event;
use crate::domain::caller::Caller;
use crate::domain::grant::Action;
use crate::policy::{Decision, Denial};
use crate::store::{Block, StoreError};

/// How old what is known of the blocks may be when a token without a lease is signed.
const BLOCKS_FRESH: Duration = Duration::from_secs(2);

/// Well within [`BLOCKS_FRESH`].
const READ_BLOCKS_EVERY: Duration = Duration::from_millis(500);

/// The blocks as this broker knows them.
pub(super) type Blocked = BTreeMap<SpiffeId, Block>;

impl Broker {
    /// Reads the blocks again.
    pub(super) async fn read_blocks(&self) -> Result<(), StoreError> {
        // What is read is as old as the question.
        let asked_at = clock::boot();
        let blocks = self.store.blocks().await?;
        self.blocked.store(Arc::new(blocks.into_iter().map(|block| (block.identity.clone(), block)).collect()));
        self.blocks_read_at.store(u64::try_from(asked_at.as_millis()).unwrap_or(u64::MAX), Ordering::Release);
        Ok(())
    }

    /// Whoever hands out what nobody can end must know whom not to.
    ///
    /// # Errors
    /// [`Failure::StoreAway`] when the blocks were read longer ago than [`BLOCKS_FRESH`].
    pub(super) fn blocks_must_be_fresh(&self) -> Result<(), Failure> {
        let read_at = Duration::from_millis(self.blocks_read_at.load(Ordering::Acquire));
        if clock::boot().saturating_sub(read_at) <= BLOCKS_FRESH {
            return Ok(());
        }
        let why = format!(
            "the blocked identities have not been read for {BLOCKS_FRESH:?}: no token without a lease until then"
        );
        Err(Failure::StoreAway { why })
    }

    /// Reads the blocks again and again; ends when the broker stops.
    pub(super) async fn keep_reading_blocks(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            if let Err(e) = self.read_blocks().await {
                tracing::warn!(error = %e, "the blocked identities could not be read");
            }
            tokio::select! {
                () = tokio::time::sleep(READ_BLOCKS_EVERY) => {}
                _ = stop.changed() => {}
            }
        }
    }

    /// Refuses a blocked caller, on record.
    ///
    /// # Errors
    /// [`Failure::Denied`]; [`Failure::Limit`] when it comes too often for the audit log to hear of it each time.
    pub async fn admit(&self, caller: &Caller, request: &RequestId, call: &str) -> Result<(), Failure> {
        if !self.blocked.load().contains_key(&caller.id) {
            return Ok(());
        }
        Err(self.refuse_blocked(caller, request, call).await)
    }

    pub(super) async fn refuse_blocked(&self, caller: &Caller, request: &RequestId, call: &str) -> Failure {
        if let Err(too_often) = self.rates.refusal(caller.id.as_str()) {
            self.refusals_counted.fetch_add(1, Ordering::Relaxed);
            return too_often;
        }
        let decision = Decision::Denied(Denial::Blocked { what: call.to_owned() });
        let Decided { decision_id, reason, event } =
            self.describe(&decision, caller, request, Deed::on_broker(Action::Read));
        if let Err(e) = self.audit.write(event).await {
            tracing::error!(error = %e, "a refusal of a blocked identity could not be put on record");
        }
        Failure::Denied { decision_id, reason: reason.unwrap_or_default() }
    }

    /// Blocks an identity. Answers whether it was not blocked before.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn block(
        self: &Arc<Self>,
        caller: &Caller,
        request: &RequestId,
        identity: SpiffeId,
        reason: Option<String>,
    ) -> Result<bool, Failure> {
        let (this, caller, request) = (self.clone(), caller.clone(), request.clone());
        self.to_the_end(async move {
            let block = Block { identity, at: this.clock.now(), by_whom: caller.id.to_string(), reason };
            let decision_id =
                this.permit_block(&caller, &request, "identity_block", &block.identity, &block.reason).await?;
            let changed = this.store.block(&block).await?;
            tracing::warn!(identity = %block.identity, decision_id, "an identity is blocked");
            this.read_blocks().await?;
            Ok(changed)
        })
        .await
    }

    /// Lifts a block. Answers whether there was one.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn unblock(
        self: &Arc<Self>,
        caller: &Caller,
        request: &RequestId,
        identity: SpiffeId,
    ) -> Result<bool, Failure> {
        let (this, caller, request) = (self.clone(), caller.clone(), request.clone());
        self.to_the_end(async move {
            this.permit_block(&caller, &request, "identity_unblock", &identity, &None).await?;
            let changed = this.store.unblock(&identity).await?;
            this.read_blocks().await?;
            Ok(changed)
        })
        .await
    }

    /// All blocks.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn blocks(&self, caller: &Caller, request: &RequestId) -> Result<Vec<Block>, Failure> {
        let rules = self.current().config.rules.clone();
        self.authorize(&rules, caller, request, Deed::on_broker(Action::Admin)).await?;
        Ok(self.store.blocks().await?)
    }

    /// A block takes away, so it waits for audit no more than an end does: its lines are kept in the store.
    async fn permit_block(
        &self,
        caller: &Caller,
        request: &RequestId,
        operation: &str,
        identity: &SpiffeId,
        reason: &Option<String>,
    ) -> Result<String, Failure> {
        let rules = self.current().config.rules.clone();
        let permit = self.authorize_end(&rules, caller, request, Deed::on_broker(Action::Admin)).await?;
        let detail = serde_json::json!({ "identity": identity.as_str(), "reason": reason });
        let decision_id = permit.decision_id.clone();
        let event = Event::Operation { operation: operation.to_owned(), decision_id: permit.decision_id, detail };
        self.keep_for_audit(&event).await?;
        Ok(decision_id)
    }
}
