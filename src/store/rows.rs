//! A lease, an order, an outbox line from a row of either database, and what cannot be read.

use leasehold_identity::SpiffeId;
use leasehold_sdk::{LeaseId, Receipt, Revocable, Timestamp};

use super::{
    Block, Filter, KnownBroker, Live, NewOrder, Order, OutboxLine, Presence, Row, SealedRow, SealedState, Standing,
    StoreError,
};
use crate::domain::lease::{EndedBy, Lease, State};
use crate::seal::{KeyId, Sealed};

/// The cells of one row of a table: both databases hold text, whole numbers and truth values, and nothing else.
pub(super) trait Cells {
    /// Text.
    fn text(&self, column: &str) -> Result<String, StoreError>;
    /// Text or null.
    fn maybe_text(&self, column: &str) -> Result<Option<String>, StoreError>;
    /// A whole number.
    fn number(&self, column: &str) -> Result<i64, StoreError>;
    /// A whole number or null.
    fn maybe_number(&self, column: &str) -> Result<Option<i64>, StoreError>;
    /// Yes or no.
    fn flag(&self, column: &str) -> Result<bool, StoreError>;

    /// A moment.
    fn time(&self, column: &str) -> Result<Timestamp, StoreError> {
        self.number(column).map(Timestamp::from_unix_ms)
    }
    /// A moment or null.
    fn maybe_time(&self, column: &str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.maybe_number(column)?.map(Timestamp::from_unix_ms))
    }
    /// A count.
    fn count(&self, column: &str) -> Result<u64, StoreError> {
        u64::try_from(self.number(column)?).map_err(|_| StoreError::Damaged(format!("{column} is below zero")))
    }
}

/// Makes a row of one database's library one of ours.
macro_rules! cells {
    ($row:ty, $failed:path) => {
        impl $crate::store::rows::Cells for $row {
            fn text(&self, column: &str) -> Result<String, $crate::store::StoreError> {
                sqlx::Row::try_get(self, column).map_err($failed)
            }
            fn maybe_text(&self, column: &str) -> Result<Option<String>, $crate::store::StoreError> {
                sqlx::Row::try_get(self, column).map_err($failed)
            }
            fn number(&self, column: &str) -> Result<i64, $crate::store::StoreError> {
                sqlx::Row::try_get(self, column).map_err($failed)
            }
            fn maybe_number(&self, column: &str) -> Result<Option<i64>, $crate::store::StoreError> {
                sqlx::Row::try_get(self, column).map_err($failed)
            }
            fn flag(&self, column: &str) -> Result<bool, $crate::store::StoreError> {
                sqlx::Row::try_get(self, column).map_err($failed)
            }
        }
    };
}
pub(super) use cells;

/// The columns of a [`Lease`], as a literal.
macro_rules! lease_columns {
    () => {
        "id, role, target, identity, state, ended_by, issued_at, expires_at, max_expires_at, rotate_at, renewable, \
         revocable, worst_case_until, account, attempts, last_error"
    };
}

/// The columns of a [`Row`], as a literal.
macro_rules! row_columns {
    () => {
        concat!(rows::lease_columns!(), ", plan, receipt, mint_deadline, due_at")
    };
}
pub(super) use {lease_columns, row_columns};

/// Reads the columns of [`lease_columns`].
pub(super) fn lease(row: &impl Cells) -> Result<Lease, StoreError> {
    let id = row.text("id")?;
    let bad = |column: &'static str| {
        let id = id.clone();
        move || StoreError::Damaged(format!("lease {id:?}: its {column} cannot be read"))
    };
    Ok(Lease {
        id: id.parse().map_err(|_| bad("id")())?,
        role: row.text("role")?,
        target: row.text("target")?,
        identity: SpiffeId::parse(&row.text("identity")?).map_err(|_| bad("identity")())?,
        state: State::parse(&row.text("state")?).ok_or_else(bad("state"))?,
        ended_by: match row.maybe_text("ended_by")? {
            Some(word) => Some(EndedBy::parse(&word).ok_or_else(bad("ended_by"))?),
            None => None,
        },
        issued_at: row.time("issued_at")?,
        expires_at: row.time("expires_at")?,
        max_expires_at: row.time("max_expires_at")?,
        rotate_at: row.time("rotate_at")?,
        renewable: row.flag("renewable")?,
        revocable: revocable(&row.text("revocable")?).ok_or_else(bad("revocable"))?,
        worst_case_until: row.maybe_time("worst_case_until")?,
        account: row.text("account")?.parse().map_err(|_| bad("account")())?,
        attempts: u32::try_from(row.number("attempts")?).map_err(|_| bad("attempts")())?,
        last_error: row.maybe_text("last_error")?,
    })
}

/// Reads the columns of [`row_columns`].
pub(super) fn whole(row: &impl Cells) -> Result<Row, StoreError> {
    let lease = lease(row)?;
    let unreadable = |column: &str, e: serde_json::Error| {
        // The error says where, never what: a plan may hold what its role's owner calls private.
        StoreError::Damaged(format!(
            "lease {}: its {column} cannot be read (line {}, column {})",
            lease.id,
            e.line(),
            e.column()
        ))
    };
    let plan = serde_json::from_str(&row.text("plan")?).map_err(|e| unreadable("plan", e))?;
    let receipt = match row.maybe_text("receipt")? {
        Some(text) => Some(Receipt(serde_json::from_str(&text).map_err(|e| unreadable("receipt", e))?)),
        None => None,
    };
    Ok(Row { plan, receipt, mint_deadline: row.time("mint_deadline")?, due_at: row.time("due_at")?, lease })
}

fn revocable(word: &str) -> Option<Revocable> {
    [Revocable::Immediate, Revocable::Eventual, Revocable::RoleWide, Revocable::None]
        .into_iter()
        .find(|r| r.as_str() == word)
}

/// Reads a lease as whoever walks over all of them wants it.
pub(super) fn live(row: &impl Cells) -> Result<Live, StoreError> {
    let (id, state) = (row.text("id")?, row.text("state")?);
    let bad = |what: &str| StoreError::Damaged(format!("lease {id:?}: its {what} cannot be read"));
    let worst_case_until = row.maybe_time("worst_case_until")?;
    let state = State::parse(&state).ok_or_else(|| bad("state"))?;
    Ok(Live { id: id.parse().map_err(|_| bad("id"))?, state, worst_case_until })
}

/// Reads the columns of an order; what is left of it is another question.
pub(super) fn order(row: &impl Cells) -> Result<Order, StoreError> {
    let id = row.text("id")?;
    let bad = |what: &str| StoreError::Damaged(format!("order {id:?}: its {what} cannot be read"));
    let up_to: LeaseId = row.text("up_to")?.parse().map_err(|_| bad("up_to"))?;
    let by = EndedBy::parse(&row.text("ended_by")?).ok_or_else(|| bad("ended_by"))?;
    let filter = Filter {
        role: row.maybe_text("role")?,
        target: row.maybe_text("target")?,
        identity: row.maybe_text("identity")?,
        state: None,
    };
    Ok(Order {
        matched: row.count("matched")?,
        ordered: row.count("ordered")?,
        left: 0,
        finished_at: row.maybe_time("finished_at")?,
        order: NewOrder { at: row.time("at")?, by, filter, up_to, id },
    })
}

/// Reads a line of the outbox.
pub(super) fn line(row: &impl Cells) -> Result<OutboxLine, StoreError> {
    let number = row.number("number")?;
    let entry = serde_json::from_str(&row.text("change")?)
        .map_err(|e| StoreError::Damaged(format!("line {number} of its outbox: {e}")))?;
    Ok(OutboxLine { number, at: row.time("at")?, entry })
}

/// Reads a block.
pub(super) fn block(row: &impl Cells) -> Result<Block, StoreError> {
    let identity = row.text("identity")?;
    let identity = SpiffeId::parse(&identity)
        .map_err(|_| StoreError::Damaged(format!("the block of {identity:?} names no SPIFFE ID")))?;
    Ok(Block { identity, at: row.time("at")?, by_whom: row.text("by_whom")?, reason: row.maybe_text("reason")? })
}

/// Reads a broker, with its count of claims.
pub(super) fn broker(row: &impl Cells) -> Result<KnownBroker, StoreError> {
    let presence = Presence {
        id: row.text("id")?,
        instance: row.text("instance")?,
        host: row.text("host")?,
        version: row.text("version")?,
        config_hash: row.text("config_hash")?,
        chain: row.text("chain")?,
        started_at: row.time("started_at")?,
    };
    Ok(KnownBroker { presence, seen_at: row.time("seen_at")?, claimed: row.count("claimed")? })
}

/// Reads how a store stands.
pub(super) fn standing(row: &impl Cells) -> Result<Standing, StoreError> {
    Ok(Standing { schema_version: row.number("schema_version")?, moved_away_at: row.maybe_time("moved_away_at")? })
}

/// Reads a sealed secret.
pub(super) fn sealed(row: &impl Cells) -> Result<SealedRow, StoreError> {
    let (kind, name, state) = (row.text("kind")?, row.text("name")?, row.text("state")?);
    let state = SealedState::parse(&state)
        .ok_or_else(|| StoreError::Damaged(format!("the sealed {kind} of {name:?} has a state that cannot be read")))?;
    let sealed = Sealed { key_id: KeyId::kept(row.text("key_id")?), blob: row.text("blob")? };
    Ok(SealedRow { kind, name, generation: row.count("generation")?, state, sealed, made_at: row.time("made_at")? })
}

/// Reads the id of a lease that is the newest.
pub(super) fn lease_id(text: String) -> Result<LeaseId, StoreError> {
    text.parse().map_err(|e| StoreError::Damaged(format!("its newest lease {text:?}: {e}")))
}
