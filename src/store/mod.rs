//! What must outlive a crash. Narrow traits, one implementation per database, one conformance suite for all of them.
//!
//! A method returns when what it did is durable. None of them decides: which changes are legal is said by
//! [`crate::domain::lease::State::may_become`], and each statement carries that condition itself, so that two brokers on one
//! store cannot both win.

mod blocks;
mod brokers;
mod claims;
#[cfg(test)]
mod conformance;
mod facts;
mod leases;
pub mod moving;
mod orders;
mod outbox;
pub mod postgres;
mod rooms;
mod rows;
mod sealed;
pub mod sqlite;
mod token_status;

use leasehold_sdk::{ClusterName, Timestamp};

pub use blocks::{Block, Blocks};
pub use brokers::{Brokers, KnownBroker, Presence};
pub use claims::{Claims, Outcome, Scope, Settled, Turn};
pub use facts::{AuditHead, Facts, Standing};
pub use leases::{Filter, Inserted, Leases, Live, NewLease, Row, Visible};
pub use orders::{NewOrder, Order, OrderStep, Orders};
pub use outbox::{LeaseChange, Outbox, OutboxEntry, OutboxLine};
pub use rooms::{RoomPlace, Rooms};
pub use sealed::{Sealed, SealedRow, SealedState};
pub use token_status::TokenStatus;

/// Everything that a store is.
pub trait Store: Leases + Claims + Orders + Blocks + Brokers + Facts + Outbox + Rooms + Sealed + TokenStatus {}
impl<T: Leases + Claims + Orders + Blocks + Brokers + Facts + Outbox + Rooms + Sealed + TokenStatus> Store for T {}

/// The version of the schema that this program makes. A program works with stores of this version and of the one before and
/// after it, so that brokers can be replaced one after the other: what one version takes away, none may have needed since the
/// version before.
pub const SCHEMA_VERSION: i64 = 1;

/// Whether a program of ours may work on a store of this version.
///
/// # Errors
/// [`StoreError::NotOurs`] that says what to do.
pub fn overlaps(version: i64) -> Result<(), StoreError> {
    if (version - SCHEMA_VERSION).abs() <= 1 {
        return Ok(());
    }
    let (age, todo) = if version > SCHEMA_VERSION {
        ("newer", "run the program that made it, or one version older")
    } else {
        ("older", "upgrade version by version, each started once")
    };
    Err(StoreError::NotOurs(format!(
        "its schema is of version {version}, {age} than this program's {SCHEMA_VERSION} by more than one: {todo}"
    )))
}

/// What a broker is told whose store was moved to another place.
fn moved_away(at: Timestamp) -> StoreError {
    StoreError::NotOurs(format!(
        "what was in it was moved to another store at {at}: set [store] url to that one; if it was never put in use, \
         `leasehold store reopen` takes the move back"
    ))
}

/// Who opens a store.
#[derive(Debug, Clone)]
pub struct Opener {
    /// The cluster whose store it must be.
    pub cluster: ClusterName,
    /// The broker's id: whose claims and outbox lines are its own.
    pub broker: String,
}

/// The store did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, is full, or is busy beyond its limit: nothing was changed; later it may work.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// What it holds cannot be read. An operator must look.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// It cannot be opened by this broker: it is another cluster's, in use by another broker, or newer than this program.
    #[error("the store was not opened: {0}")]
    NotOurs(String),
}
