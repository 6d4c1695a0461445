//! A copy of each target's sealed passwords beside the store: a store that is put back from a backup must still reach its targets.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use leasehold_sdk::Timestamp;
use serde::{Deserialize, Serialize};

use crate::seal::Sealed;
use crate::store::{SealedRow, SealedState};

/// Longest copy that is read.
const BYTES_MAX: u64 = 1 << 20;

#[derive(Serialize, Deserialize)]
struct Line {
    kind: String,
    name: String,
    generation: u64,
    state: String,
    #[serde(flatten)]
    sealed: Sealed,
    made_at: i64,
}

fn file(dir: &Path, target: &str) -> PathBuf {
    dir.join(format!("{target}.json"))
}

/// Keeps these rows, in one step. Nothing is written where there is nothing to keep.
pub(super) fn keep(dir: &Path, target: &str, rows: &[SealedRow]) -> std::io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let line = |row: &SealedRow| Line {
        kind: row.kind.clone(),
        name: row.name.clone(),
        generation: row.generation,
        state: row.state.as_str().to_owned(),
        sealed: row.sealed.clone(),
        made_at: row.made_at.unix_ms(),
    };
    let text = serde_json::to_vec_pretty(&rows.iter().map(line).collect::<Vec<_>>())?;
    let (file, fresh) = (file(dir, target), file(dir, &format!(".{target}.new")));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let mut out = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    out.write_all(&text).and_then(|()| out.sync_all())?;
    std::fs::rename(&fresh, &file)?;
    std::fs::File::open(dir)?.sync_all()
}

/// What was kept. One that cannot be read says nothing: it is sealed, and only ever a second source.
pub(super) fn read(dir: &Path, target: &str) -> Vec<SealedRow> {
    use std::io::Read;
    let mut text = Vec::new();
    let read = std::fs::File::open(file(dir, target)).and_then(|f| f.take(BYTES_MAX).read_to_end(&mut text));
    let lines: Vec<Line> = match read.map(|_| serde_json::from_slice(&text)) {
        Ok(Ok(lines)) => lines,
        Ok(Err(e)) => {
            tracing::warn!(target_name = %target, error = %e, "the copy of its sealed passwords cannot be read");
            Vec::new()
        }
        Err(_) => Vec::new(),
    };
    let row = |line: Line| {
        Some(SealedRow {
            kind: line.kind,
            name: line.name,
            generation: line.generation,
            state: SealedState::parse(&line.state)?,
            sealed: line.sealed,
            made_at: Timestamp::from_unix_ms(line.made_at),
        })
    };
    lines.into_iter().filter_map(row).collect()
}
