//! Sealed secrets.

use async_trait::async_trait;
use sqlx::SqliteConnection;

use super::super::{Sealed, SealedRow, StoreError, rows};
use super::Sqlite;
use super::outcome::failed;
use super::writer::Op;
use crate::seal;

pub(super) const ALL: &str = "SELECT * FROM sealed ORDER BY kind, name, generation";

#[async_trait]
impl Sealed for Sqlite {
    async fn sealed(&self) -> Result<Vec<SealedRow>, StoreError> {
        let mut db = self.reader().await?;
        sqlx::query(ALL).fetch_all(&mut *db).await.map_err(failed)?.iter().map(rows::sealed).collect()
    }

    async fn put_sealed(&self, row: &SealedRow) -> Result<bool, StoreError> {
        self.write(Put(row.clone())).await
    }

    async fn promote_sealed(&self, kind: &str, name: &str, generation: u64, kept: u64) -> Result<bool, StoreError> {
        self.write(Promote { kind: kind.to_owned(), name: name.to_owned(), generation, kept }).await
    }

    async fn remove_sealed(&self, kind: &str, name: &str, generation: u64) -> Result<bool, StoreError> {
        self.write(Remove { kind: kind.to_owned(), name: name.to_owned(), generation }).await
    }

    async fn reseal(&self, row: &SealedRow, fresh: &seal::Sealed) -> Result<bool, StoreError> {
        self.write(Reseal { row: row.clone(), fresh: fresh.clone() }).await
    }
}

fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

struct Put(SealedRow);

#[async_trait]
impl Op for Put {
    type Answer = bool;

    async fn apply(&self, db: &mut SqliteConnection) -> Result<bool, StoreError> {
        let row = &self.0;
        let put = sqlx::query(
            "INSERT INTO sealed (kind, name, generation, state, key_id, blob, made_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
             ON CONFLICT DO NOTHING",
        );
        let put = put.bind(&row.kind).bind(&row.name).bind(number(row.generation)).bind(row.state.as_str());
        let put = put.bind(row.sealed.key_id.as_str()).bind(&row.sealed.blob).bind(row.made_at.unix_ms());
        Ok(put.execute(db).await.map_err(failed)?.rows_affected() == 1)
    }
}

struct Promote {
    kind: String,
    name: String,
    generation: u64,
    kept: u64,
}

#[async_trait]
impl Op for Promote {
    type Answer = bool;

    async fn apply(&self, db: &mut SqliteConnection) -> Result<bool, StoreError> {
        let mut found = false;
        let steps = [
            "UPDATE sealed SET state = 'current' WHERE kind = ?1 AND name = ?2 AND generation = ?3 AND ?4 >= 0",
            "UPDATE sealed SET state = 'previous' WHERE kind = ?1 AND name = ?2 AND generation <> ?3 AND ?4 >= 0",
            "DELETE FROM sealed WHERE kind = ?1 AND name = ?2 AND generation < ?3 - ?4",
        ];
        for (at, step) in steps.into_iter().enumerate() {
            let step = sqlx::query(step).bind(&self.kind).bind(&self.name).bind(number(self.generation));
            let changed = step.bind(number(self.kept)).execute(&mut *db).await.map_err(failed)?.rows_affected();
            found |= at == 0 && changed == 1;
            if !found {
                break;
            }
        }
        Ok(found)
    }
}

struct Remove {
    kind: String,
    name: String,
    generation: u64,
}

#[async_trait]
impl Op for Remove {
    type Answer = bool;

    async fn apply(&self, db: &mut SqliteConnection) -> Result<bool, StoreError> {
        let remove = sqlx::query("DELETE FROM sealed WHERE kind = ?1 AND name = ?2 AND generation = ?3");
        let remove = remove.bind(&self.kind).bind(&self.name).bind(number(self.generation));
        Ok(remove.execute(db).await.map_err(failed)?.rows_affected() == 1)
    }
}

struct Reseal {
    row: SealedRow,
    fresh: seal::Sealed,
}

#[async_trait]
impl Op for Reseal {
    type Answer = bool;

    async fn apply(&self, db: &mut SqliteConnection) -> Result<bool, StoreError> {
        let row = &self.row;
        let reseal = sqlx::query(
            "UPDATE sealed SET key_id = ?4, blob = ?5 WHERE kind = ?1 AND name = ?2 AND generation = ?3 AND blob = ?6",
        );
        let reseal = reseal.bind(&row.kind).bind(&row.name).bind(number(row.generation));
        let reseal = reseal.bind(self.fresh.key_id.as_str()).bind(&self.fresh.blob).bind(&row.sealed.blob);
        Ok(reseal.execute(db).await.map_err(failed)?.rows_affected() == 1)
    }
}
