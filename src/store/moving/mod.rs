//! Moving a store into another, of the same kind or not, without ending a lease: all of it into a file, and from the file
//! into an empty store, in one transaction.
//!
//! The file has one JSON object a line: a heading, the rows, and a last line with their number and a checksum, so that a
//! file that was cut off or changed is refused. It holds no secret but sealed ones.

mod tables;
#[cfg(test)]
mod tests;

use std::io::{BufRead, Read, Write};

use async_trait::async_trait;
use aws_lc_rs::digest::{self, Context};
use data_encoding::HEXLOWER;
use leasehold_sdk::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use tables::{Holds, TABLES, Table};

use super::rows::Cells;
use super::{OutboxLine, SCHEMA_VERSION, StoreError, overlaps};

/// The version of the file's form.
const FORM: u32 = 1;

/// Bytes of the longest line that is read: a plan is much shorter.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// Rows that are written at once.
const AT_ONCE: usize = 500;

/// One row of one table.
pub type Row = Map<String, Value>;

/// A store that is to be moved. Nobody works on it any more.
#[async_trait]
pub trait Source: Send {
    /// The last number that its outbox gave to a line.
    async fn outbox_last(&mut self) -> Result<i64, StoreError>;

    /// Gives every row of a table to `each`, in order.
    async fn read(
        &mut self,
        table: &'static Table,
        each: &mut (dyn FnMut(Row) -> Result<(), MoveError> + Send),
    ) -> Result<(), MoveError>;
}

/// An empty store, with a transaction open.
#[async_trait]
pub trait Sink: Send {
    /// Writes rows, as a JSON list.
    async fn write(&mut self, table: &'static Table, rows: &str) -> Result<(), StoreError>;

    /// Makes it whole: lines of the outbox get numbers after `outbox_last`, and the next of them is this one. Nothing can be
    /// undone any more.
    async fn finish(self: Box<Self>, outbox_last: i64, line: OutboxLine) -> Result<(), StoreError>;
}

/// What was moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// Whose store it is.
    pub cluster: String,
    /// Its tag, part of every account's name.
    pub tag: String,
    /// Leases, those that ended lately among them.
    pub leases: u64,
    /// All rows.
    pub rows: u64,
}

/// Why it was not moved.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file could not be written or read.
    #[error("the file: {0}")]
    File(#[from] std::io::Error),
    /// It is no such file, or not whole.
    #[error("line {line} of the file: {why}")]
    Line {
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Heading {
    leasehold_store: u32,
    cluster: String,
    tag: String,
    schema_version: i64,
    exported_at: Timestamp,
    outbox_last: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Line {
    Row { table: String, row: Row },
    End { rows: u64, sha256: String },
}

/// Writes all of a store into `out`.
///
/// # Errors
/// [`MoveError`]; what is in `out` then is no whole file.
pub async fn export(source: &mut dyn Source, at: Timestamp, out: &mut (dyn Write + Send)) -> Result<Moved, MoveError> {
    let mut own = Row::new();
    let mut keep = |row| {
        own = row;
        Ok(())
    };
    source.read(&TABLES[0], &mut keep).await?;
    let text = |key: &str| own.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut moved = Moved { cluster: text("cluster"), tag: text("tag"), leases: 0, rows: 0 };
    let mut hash = Context::new(&digest::SHA256);
    let heading = Heading {
        leasehold_store: FORM,
        cluster: moved.cluster.clone(),
        tag: moved.tag.clone(),
        schema_version: SCHEMA_VERSION,
        exported_at: at,
        outbox_last: source.outbox_last().await?,
    };
    put(out, &mut hash, &heading)?;
    for table in TABLES {
        let mut each = |row| {
            moved.rows += 1;
            moved.leases += u64::from(table.name == "leases");
            put(out, &mut hash, &Line::Row { table: table.name.to_owned(), row })
        };
        source.read(table, &mut each).await?;
    }
    let sha256 = HEXLOWER.encode(hash.clone().finish().as_ref());
    put(out, &mut hash, &Line::End { rows: moved.rows, sha256 })?;
    out.flush()?;
    Ok(moved)
}

fn put(out: &mut (dyn Write + Send), hash: &mut Context, line: &impl Serialize) -> Result<(), MoveError> {
    let mut text = serde_json::to_string(line).map_err(std::io::Error::other)?;
    text.push('\n');
    hash.update(text.as_bytes());
    out.write_all(text.as_bytes())?;
    Ok(())
}

/// Writes all of a file into an empty store, or nothing of it. `cluster`: whose it must be. `told`: makes of what was moved the
/// line for the audit log, which the first broker there puts on record.
///
/// # Errors
/// [`MoveError`]; the store is as it was.
pub async fn import(
    input: &mut (dyn BufRead + Send),
    cluster: &str,
    mut sink: Box<dyn Sink>,
    told: impl FnOnce(&Moved) -> OutboxLine + Send,
) -> Result<Moved, MoveError> {
    let mut lines = Lines { input, number: 0, hash: Context::new(&digest::SHA256) };
    let heading: Heading = lines.next()?.0;
    if heading.leasehold_store != FORM {
        return Err(lines.wrong(format!("its form is {}, and this program knows {FORM}", heading.leasehold_store)));
    }
    if heading.cluster != cluster {
        return Err(
            lines.wrong(format!("it is of cluster {:?}, and the configuration of {cluster:?}", heading.cluster))
        );
    }
    overlaps(heading.schema_version)?;
    let mut moved = Moved { cluster: heading.cluster, tag: heading.tag, leases: 0, rows: 0 };
    let mut waiting: Option<(&'static Table, Vec<Row>)> = None;
    loop {
        let (line, before) = lines.next()?;
        match line {
            Line::Row { table, row } => {
                let table = tables::table(&table).ok_or_else(|| lines.wrong(format!("there is no table {table:?}")))?;
                check(table, &row).map_err(|why| lines.wrong(why))?;
                if table.name == "store" && row.get("cluster").and_then(Value::as_str) != Some(cluster) {
                    return Err(lines.wrong("it is of another cluster than the heading says".to_owned()));
                }
                moved.rows += 1;
                moved.leases += u64::from(table.name == "leases");
                match &mut waiting {
                    Some((of, rows)) if std::ptr::eq(*of, table) && rows.len() < AT_ONCE => rows.push(row),
                    _ => write(&mut *sink, waiting.replace((table, vec![row]))).await?,
                }
            }
            Line::End { rows, sha256 } if rows == moved.rows && sha256 == before => break,
            Line::End { .. } => return Err(lines.wrong("the file was changed after it was written".to_owned())),
        }
    }
    write(&mut *sink, waiting).await?;
    sink.finish(heading.outbox_last, told(&moved)).await?;
    Ok(moved)
}

async fn write(sink: &mut dyn Sink, rows: Option<(&'static Table, Vec<Row>)>) -> Result<(), MoveError> {
    let Some((table, rows)) = rows else { return Ok(()) };
    let text = serde_json::to_string(&rows).map_err(std::io::Error::other)?;
    Ok(sink.write(table, &text).await?)
}

/// Every column, none else, each of its kind.
fn check(table: &Table, row: &Row) -> Result<(), String> {
    for (column, holds) in table.columns {
        let good = match (holds, row.get(*column)) {
            (Holds::Text, Some(Value::String(_) | Value::Null)) => true,
            (Holds::Number, Some(Value::Number(n))) => n.is_i64(),
            (Holds::Number, Some(Value::Null)) => true,
            (Holds::Flag, Some(Value::Bool(_))) => true,
            _ => false,
        };
        if !good {
            return Err(format!("its {column} is missing or not what the table {} holds", table.name));
        }
    }
    if row.len() == table.columns.len() { Ok(()) } else { Err(format!("the table {} has no such columns", table.name)) }
}

/// A row as it is moved.
pub(super) fn row(table: &Table, cells: &impl Cells) -> Result<Row, StoreError> {
    let read = |(column, holds): &(&'static str, Holds)| {
        let value = match holds {
            Holds::Text => cells.maybe_text(column)?.map_or(Value::Null, Value::from),
            Holds::Number => cells.maybe_number(column)?.map_or(Value::Null, Value::from),
            Holds::Flag => Value::from(cells.flag(column)?),
        };
        Ok(((*column).to_owned(), value))
    };
    table.columns.iter().map(read).collect()
}

/// The lines of a file, each with the checksum of those before it.
struct Lines<'a> {
    input: &'a mut (dyn BufRead + Send),
    number: u64,
    hash: Context,
}

impl Lines<'_> {
    fn next<T: for<'de> Deserialize<'de>>(&mut self) -> Result<(T, String), MoveError> {
        self.number += 1;
        let mut text = Vec::new();
        let mut bounded = (&mut *self.input).take(LINE_BYTES_MAX);
        bounded.read_until(b'\n', &mut text)?;
        if text.last() != Some(&b'\n') {
            let why = if text.len() as u64 == LINE_BYTES_MAX { "it is too long" } else { "the file was cut off here" };
            return Err(self.wrong(why.to_owned()));
        }
        let before = HEXLOWER.encode(self.hash.clone().finish().as_ref());
        self.hash.update(&text);
        // The error says where, never what.
        let line = serde_json::from_slice(&text)
            .map_err(|e| self.wrong(format!("no line of a store (column {})", e.column())))?;
        Ok((line, before))
    }

    fn wrong(&self, why: String) -> MoveError {
        MoveError::Line { line: self.number, why }
    }
}
