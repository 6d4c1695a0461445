//! Ends that are told in a room: a finite space of a target, which is written whole each time. What stands in it is decided here,
//! before it is written there, so that no write of another broker loses it.

use async_trait::async_trait;
use leasehold_sdk::{AccountName, LeaseId, Timestamp};
use serde_json::{Value, json};

use super::StoreError;
use super::rows::Cells;

/// An end that takes a place in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomPlace {
    /// Whose end.
    pub lease: LeaseId,
    /// Where it is told.
    pub room: String,
    /// Whose lease it is.
    pub identity: String,
    /// The account's name.
    pub account: AccountName,
    /// Whether it uses up what its identity may have of the room.
    pub of_share: bool,
    /// By then it has ended by itself.
    pub until: Timestamp,
    /// It is told by ending all of before this moment.
    pub cut: Option<Timestamp>,
}

/// Rooms and what stands in them.
#[async_trait]
pub trait Rooms: Send + Sync {
    /// What stands in a room.
    async fn places(&self, room: &str) -> Result<Vec<RoomPlace>, StoreError>;

    /// Takes places, all or none. One that is taken already stays; it may become one of a cut.
    async fn take_places(&self, places: &[RoomPlace]) -> Result<(), StoreError>;

    /// Gives places back.
    async fn leave_places(&self, leases: &[LeaseId]) -> Result<(), StoreError>;

    /// Ends all of a room that was made before `at`; a later moment that is on record stays.
    async fn cut_room(&self, room: &str, at: Timestamp) -> Result<(), StoreError>;

    /// Until when all of a room was ended, if it ever was.
    async fn room_cut(&self, room: &str) -> Result<Option<Timestamp>, StoreError>;
}

/// The rows of several places, as one JSON list: one statement, however many.
pub(super) fn as_json(places: &[RoomPlace]) -> String {
    let row = |place: &RoomPlace| {
        json!({
            "lease": place.lease,
            "room": place.room,
            "identity": place.identity,
            "account": place.account,
            "of_share": i64::from(place.of_share),
            "until_at": place.until.unix_ms(),
            "cut_at": place.cut.map(Timestamp::unix_ms),
        })
    };
    Value::Array(places.iter().map(row).collect()).to_string()
}

/// A row of the table.
pub(super) fn place(row: &impl Cells) -> Result<RoomPlace, StoreError> {
    let lease = row.text("lease")?;
    let bad = |what: &str| StoreError::Damaged(format!("the place of lease {lease:?}: its {what} cannot be read"));
    Ok(RoomPlace {
        lease: lease.parse().map_err(|_| bad("lease"))?,
        room: row.text("room")?,
        identity: row.text("identity")?,
        account: row.text("account")?.parse().map_err(|_| bad("account"))?,
        of_share: row.number("of_share")? != 0,
        until: row.time("until_at")?,
        cut: row.maybe_time("cut_at")?,
    })
}
