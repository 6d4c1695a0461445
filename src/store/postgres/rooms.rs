//! Ends that are told in a room.

use async_trait::async_trait;
use leasehold_sdk::{LeaseId, Timestamp};

use super::super::rooms::{as_json, place};
use super::super::{RoomPlace, Rooms, StoreError};
use super::Postgres;
use super::outcome::failed;

#[async_trait]
impl Rooms for Postgres {
    async fn places(&self, room: &str) -> Result<Vec<RoomPlace>, StoreError> {
        let all = self
            .within(async { sqlx::query(PLACES).bind(room).fetch_all(&mut *self.db().await?).await.map_err(failed) });
        all.await?.iter().map(place).collect()
    }

    async fn take_places(&self, places: &[RoomPlace]) -> Result<(), StoreError> {
        self.note(sqlx::query(TAKE).bind(as_json(places))).await.map(drop)
    }

    async fn leave_places(&self, leases: &[LeaseId]) -> Result<(), StoreError> {
        let leases: Vec<String> = leases.iter().map(LeaseId::to_string).collect();
        self.note(sqlx::query("DELETE FROM room_places WHERE lease = ANY($1)").bind(leases)).await.map(drop)
    }

    async fn cut_room(&self, room: &str, at: Timestamp) -> Result<(), StoreError> {
        self.note(sqlx::query(CUT).bind(room.to_owned()).bind(at.unix_ms())).await.map(drop)
    }

    async fn room_cut(&self, room: &str) -> Result<Option<Timestamp>, StoreError> {
        self.within(async {
            let at = sqlx::query_scalar("SELECT at FROM room_cuts WHERE room = $1").bind(room);
            let at = at.fetch_optional(&mut *self.db().await?).await.map_err(failed)?;
            Ok(at.map(Timestamp::from_unix_ms))
        })
        .await
    }
}

const PLACES: &str =
    "SELECT lease, room, identity, account, of_share, until_at, cut_at FROM room_places WHERE room = $1";

/// In one order, so that two brokers with the same places wait for each other and never block each other for good.
const TAKE: &str = "INSERT INTO room_places (lease, room, identity, account, of_share, until_at, cut_at) \
    SELECT lease, room, identity, account, of_share, until_at, cut_at \
    FROM json_populate_recordset(NULL::room_places, $1::json) ORDER BY lease \
    ON CONFLICT (lease) DO UPDATE SET cut_at = coalesce(excluded.cut_at, room_places.cut_at)";

const CUT: &str = "INSERT INTO room_cuts (room, at) VALUES ($1, $2) \
    ON CONFLICT (room) DO UPDATE SET at = greatest(room_cuts.at, excluded.at)";
