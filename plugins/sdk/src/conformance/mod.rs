//! The suite that every engine runs: the laws, as far as one engine can keep or break them.
//!
//! An engine's tests implement [`Subject`] for each way a target can be set up and call [`run`], which panics with the
//! name of the case that failed. Nothing in it is mocked: the subject logs in to a real target.

mod ending;
mod harness;
mod listing;
mod making;

use std::time::Duration;

use async_trait::async_trait;

use crate::{AccountName, Credential, Engine, Mark, RoleSettings, StatusSlot};

/// An engine on a real target, and a way to look at that target that does not go through the engine.
#[async_trait]
pub trait Subject: Send + Sync {
    /// The engine. Nobody else uses its mark while the suite runs.
    fn engine(&self) -> &dyn Engine;

    /// Whose accounts it makes.
    fn mark(&self) -> &Mark;

    /// An ordinary role, checked by the engine.
    fn role(&self) -> RoleSettings;

    /// A role that puts the param `tenant` into the target, where [`Subject::param`] finds it. `None`: the engine, as it is
    /// set up here, puts no param anywhere.
    fn role_with_param(&self) -> Option<RoleSettings>;

    /// What the param became in the target.
    async fn param(&self, account: &AccountName) -> Option<String>;

    /// Logs in. The error tells why that failed.
    async fn login(&self, credential: &Credential) -> Result<Box<dyn Probe>, String>;

    /// Where the core says that the account's end can be told.
    fn slot(&self, _: &AccountName) -> Option<StatusSlot> {
        None
    }

    /// Whether an end holds also for what is made after it: then nothing has to wait for the deadline of a mint.
    fn ends_ahead(&self) -> bool {
        false
    }

    /// How long after the deadline of a mint the target may still carry out what it was sent before.
    fn late(&self) -> Duration {
        Duration::ZERO
    }

    /// Whether the account is in the target.
    async fn exists(&self, account: &AccountName) -> bool;
}

/// An open session.
#[async_trait]
pub trait Probe: Send {
    /// Whether the target still serves it.
    async fn is_alive(&mut self) -> bool;
}

/// Runs every case against `subject`.
///
/// # Panics
/// When a case fails.
pub async fn run(subject: &dyn Subject) {
    let h = &harness::Harness::new(subject).await;
    making::a_credential_lives_is_renewed_and_dies(h).await;
    making::a_mint_past_its_deadline_makes_nothing(h).await;
    making::a_foreign_fingerprint_is_refused(h).await;
    making::an_edited_plan_touches_nobody(h).await;
    making::one_bad_order_leaves_the_others(h).await;
    making::many_at_once(h).await;
    making::params_arrive_as_they_are(h).await;
    ending::revoking_twice_is_fine(h).await;
    ending::what_was_never_made_ends_after_its_deadline_only(h).await;
    ending::one_bad_order_leaves_the_others(h).await;
    ending::a_stray_is_ended_by_its_name(h).await;
    ending::a_mint_that_is_given_up_leaves_nothing(h).await;
    listing::the_list_is_paged_and_complete(h).await;
}
