//! Ends that are told in a room.

use async_trait::async_trait;
use leasehold_sdk::{LeaseId, Timestamp};
use serde_json::json;
use sqlx::SqliteConnection;

use super::super::rooms::{as_json, place};
use super::super::{RoomPlace, Rooms, StoreError};
use super::Sqlite;
use super::outcome::failed;
use super::writer::Op;

#[async_trait]
impl Rooms for Sqlite {
    async fn places(&self, room: &str) -> Result<Vec<RoomPlace>, StoreError> {
        let mut db = self.reader().await?;
        let all = sqlx::query(PLACES).bind(room).fetch_all(&mut *db).await.map_err(failed)?;
        all.iter().map(place).collect()
    }

    async fn take_places(&self, places: &[RoomPlace]) -> Result<(), StoreError> {
        self.write(Change::Take { rows: as_json(places) }).await
    }

    async fn leave_places(&self, leases: &[LeaseId]) -> Result<(), StoreError> {
        self.write(Change::Leave { leases: json!(leases).to_string() }).await
    }

    async fn cut_room(&self, room: &str, at: Timestamp) -> Result<(), StoreError> {
        self.write(Change::Cut { room: room.to_owned(), at }).await
    }

    async fn room_cut(&self, room: &str) -> Result<Option<Timestamp>, StoreError> {
        let mut db = self.reader().await?;
        let at = sqlx::query_scalar("SELECT at FROM room_cuts WHERE room = ?1").bind(room);
        Ok(at.fetch_optional(&mut *db).await.map_err(failed)?.map(Timestamp::from_unix_ms))
    }
}

pub(super) const PLACES: &str =
    "SELECT lease, room, identity, account, of_share, until_at, cut_at FROM room_places WHERE room = ?1";

enum Change {
    Take { rows: String },
    Leave { leases: String },
    Cut { room: String, at: Timestamp },
}

#[async_trait]
impl Op for Change {
    type Answer = ();

    async fn apply(&self, db: &mut SqliteConnection) -> Result<(), StoreError> {
        let statement = match self {
            Self::Take { rows } => sqlx::query(
                "INSERT INTO room_places (lease, room, identity, account, of_share, until_at, cut_at) \
                 SELECT value ->> 'lease', value ->> 'room', value ->> 'identity', value ->> 'account', \
                 value ->> 'of_share', value ->> 'until_at', value ->> 'cut_at' FROM json_each(?1) WHERE true \
                 ON CONFLICT (lease) DO UPDATE SET cut_at = coalesce(excluded.cut_at, cut_at)",
            )
            .bind(rows),
            Self::Leave { leases } => {
                sqlx::query("DELETE FROM room_places WHERE lease IN (SELECT value FROM json_each(?1))").bind(leases)
            }
            Self::Cut { room, at } => sqlx::query(
                "INSERT INTO room_cuts (room, at) VALUES (?1, ?2) ON CONFLICT (room) DO UPDATE SET at = max(at, excluded.at)",
            )
            .bind(room)
            .bind(at.unix_ms()),
        };
        statement.execute(db).await.map(drop).map_err(failed)
    }
}
