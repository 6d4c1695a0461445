//! What a server may answer with. It may lie, and an answer is held in the broker's memory, which every target shares.

use sqlx::postgres::PgRow;
use sqlx::{Column, Row, ValueRef};

use crate::sql_error::SqlError;

/// Most rows of one answer. The largest that an honest server gives are pages of a list (5,000), and sessions that are
/// told to end, of which a server has fewer.
const ROWS_MAX: usize = 100_000;
/// Most bytes of one answer. The largest that an honest server gives is told by a hostile account: the identities of 1,000
/// functions of 100 arguments with the longest names, 26 MB. Were the limit below that, such an account would never end.
const BYTES_MAX: usize = 64 << 20;
/// What a column of a row takes besides its name and value, at most: each row may bring a description of its own.
const COLUMN_BYTES: usize = 256;

/// The rows of an answer, as long as they are not too many.
#[derive(Default)]
pub(crate) struct Answer {
    rows: Vec<PgRow>,
    bytes: usize,
}

impl Answer {
    /// Takes one row more.
    ///
    /// # Errors
    /// [`SqlError::Lost`]: it is one too many, and the session must be closed amid the answer.
    pub(crate) fn take(&mut self, row: PgRow) -> Result<(), SqlError> {
        self.bytes = self.bytes.saturating_add(size(&row));
        if self.rows.len() == ROWS_MAX {
            return Err(SqlError::Lost(format!("the server answered with more than {ROWS_MAX} rows")));
        }
        if self.bytes > BYTES_MAX {
            return Err(SqlError::Lost(format!("the server answered with more than {BYTES_MAX} bytes")));
        }
        self.rows.push(row);
        Ok(())
    }

    /// All of it.
    pub(crate) fn rows(self) -> Vec<PgRow> {
        self.rows
    }
}

fn size(row: &PgRow) -> usize {
    let value =
        |at| row.try_get_raw(at).map_or(0, |v| if v.is_null() { 0 } else { v.as_bytes().map_or(0, <[u8]>::len) });
    row.columns().iter().map(|c| COLUMN_BYTES + c.name().len() + value(c.ordinal())).sum()
}
