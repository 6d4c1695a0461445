//! Orders to end many leases: durable at once, carried out in small steps by whichever broker comes first.

use async_trait::async_trait;
use leasehold_sdk::{LeaseId, Timestamp};

use super::{Filter, StoreError};
use crate::domain::lease::EndedBy;

/// An order to end many leases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOrder {
    /// Its id, `o-` and letters.
    pub id: String,
    /// When it was given.
    pub at: Timestamp,
    /// Who ends the leases: their holder or an operator.
    pub by: EndedBy,
    /// Which leases; its state is not looked at.
    pub filter: Filter,
    /// The newest lease that it is about: what is made later is not meant.
    pub up_to: LeaseId,
}

/// An order as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What was ordered.
    pub order: NewOrder,
    /// Live leases that it was about when it was placed.
    pub matched: u64,
    /// How many it has come to so far: each is `revoking` since then, or was before.
    pub ordered: u64,
    /// How many of its leases are still alive: in the end none.
    pub left: u64,
    /// When it had come to the last of them.
    pub finished_at: Option<Timestamp>,
}

/// One step of carrying out an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderStep {
    /// Of which order.
    pub order: String,
    /// How many leases it came to: each is `revoking` now.
    pub ended: u64,
    /// The order has no more to do.
    pub finished: bool,
}

/// Orders.
#[async_trait]
pub trait Orders: Send + Sync {
    /// Records an order, durably. Answers how many live leases it is about.
    async fn place_order(&self, order: &NewOrder) -> Result<u64, StoreError>;

    /// Carries out up to `leases_max` leases more of an order that is unfinished and that no other broker is at this very moment,
    /// each as [`super::Leases::end`] does. `None`: there is none.
    async fn carry_on(&self, now: Timestamp, leases_max: usize) -> Result<Option<OrderStep>, StoreError>;

    /// Deletes up to `limit` orders that were finished before this. Answers how many.
    async fn purge_orders(&self, finished_before: Timestamp, limit: usize) -> Result<u64, StoreError>;

    /// One order.
    async fn order(&self, id: &str) -> Result<Option<Order>, StoreError>;
}
