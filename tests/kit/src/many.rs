//! Very many leases without very many mints: copies of one, put into a SQLite store by its own hand while no broker has it.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use sqlx::{Connection, SqliteConnection};

/// Copies made in one transaction.
const STEP: u32 = 50_000;

/// Digits are letters of an id, too: a copy differs from its model in ten of the random ones. The identities of the copies
/// are a thousand, so that none holds them all.
const COPY: &str = "WITH RECURSIVE number (n) AS (SELECT ?2 UNION ALL SELECT n + 1 FROM number WHERE n + 1 < ?3), \
    copy (n, id) AS (SELECT n, substr(?1, 1, 15) || printf('%010d', n) || substr(?1, 26) FROM number) \
    INSERT INTO leases (id, role, target, identity, state, ended_by, issued_at, expires_at, max_expires_at, rotate_at, \
        renewable, revocable, worst_case_until, account, plan, receipt, mint_deadline, due_at, wake_at, moved_at, ended_at) \
    SELECT copy.id, role, target, identity || '-' || (copy.n % 1000), state, ended_by, issued_at, expires_at, max_expires_at, \
        rotate_at, renewable, revocable, worst_case_until, replace(account, ?1, copy.id), replace(plan, ?1, copy.id), receipt, \
        mint_deadline, due_at, wake_at, moved_at, ended_at FROM copy JOIN leases ON leases.id = ?1";

/// Adds copies of the lease `model`, as it is: those of the numbers from `from` up to `to`.
///
/// # Errors
/// When the store cannot be written, or has no such lease.
pub async fn copy_lease(store: &Path, model: &str, from: u32, to: u32) -> Result<()> {
    let mut db = SqliteConnection::connect(&format!("sqlite://{}", store.display())).await.context("open the store")?;
    for from in (from..to).step_by(STEP as usize) {
        let to = to.min(from + STEP);
        let done = sqlx::query(COPY).bind(model).bind(from).bind(to).execute(&mut db).await.context("copy a lease")?;
        ensure!(done.rows_affected() == u64::from(to - from), "there is no lease {model}");
    }
    db.close().await.context("close the store")
}

/// Resident memory of a process, in KiB.
///
/// # Errors
/// When there is no such process.
pub fn resident_kib(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).context("cannot read a process's status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    line.trim().trim_end_matches(" kB").parse().context("VmRSS is no number")
}
