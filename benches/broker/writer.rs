//! The SQLite store's writer beside a bare loop of the same inserts: one after the other, each its own commit, and many at a
//! time, which share commits.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use leasehold::domain::lease::{Lease, State};
use leasehold::limits::Limits;
use leasehold::store::sqlite::Sqlite;
use leasehold::store::{Inserted, Leases, NewLease, Opener};
use leasehold_sdk::{AccountName, Fingerprint, LeaseId, Plan, Revocable, StoreTag, clock};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Acquire, ConnectOptions, SqliteConnection};
use tokio::time::Instant;

use crate::minting::median;
use crate::options::Options;

/// Whoever writes at once where commits are shared; the bare side makes as many in one transaction.
pub const TOGETHER: [usize; 3] = [1, 16, 64];

/// One line of the table: leases recorded per second.
pub struct Point {
    pub together: usize,
    pub bare_per_second: f64,
    pub store_per_second: f64,
    /// Commits of the store for them.
    pub commits_per_second: f64,
}

impl Point {
    pub fn ratio(&self) -> f64 {
        self.store_per_second / self.bare_per_second
    }
}

pub async fn measure(options: &Options) -> Result<Vec<Point>> {
    let mut points = Vec::new();
    for together in TOGETHER {
        let (mut bare, mut store, mut commits) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..options.rounds {
            for bare_now in [round % 2 == 0, round % 2 != 0] {
                // A store of its own each time, so that both sides find trees of the same size.
                let dir = tempfile::tempdir().context("cannot make a directory")?;
                let path = dir.path().join("store.db");
                if bare_now {
                    bare.push(bare_rate(&path, together, options.span).await?);
                } else {
                    let (leases, shared) = store_rate(&path, together, options.span).await?;
                    store.push(leases);
                    commits.push(shared);
                }
            }
        }
        points.push(Point {
            together,
            bare_per_second: median(bare),
            store_per_second: median(store),
            commits_per_second: median(commits),
        });
    }
    Ok(points)
}

async fn open(path: &Path) -> Result<Sqlite> {
    let opener = Opener { cluster: "bench".parse()?, broker: "b-bench".to_owned() };
    Ok(Sqlite::open(path, &opener, &Limits::default(), Arc::default()).await?)
}

/// Each of so many tasks records one lease after the other.
async fn store_rate(path: &Path, together: usize, span: Duration) -> Result<(f64, f64)> {
    let store = Arc::new(open(path).await?);
    let before = store.written();
    let begun = Instant::now();
    let tasks: Vec<_> = (0..together).map(|n| tokio::spawn(record(Arc::clone(&store), n, begun + span))).collect();
    let mut made = 0_u64;
    for task in tasks {
        made += task.await??;
    }
    let took = begun.elapsed().as_secs_f64();
    let commits = store.written().commits - before.commits;
    store.close().await;
    Ok((made as f64 / took, commits as f64 / took))
}

async fn record(store: Arc<Sqlite>, number: usize, until: Instant) -> Result<u64> {
    let mut made = 0;
    while Instant::now() < until {
        ensure!(store.insert(new_lease(number)?).await? == Inserted::Recorded, "a lease was not recorded");
        made += 1;
    }
    Ok(made)
}

const BARE: &str = "INSERT INTO leases (id, role, target, identity, state, issued_at, expires_at, max_expires_at, rotate_at, \
    renewable, revocable, worst_case_until, account, plan, mint_deadline, due_at, wake_at, moved_at) \
    VALUES (?1, ?2, ?3, ?4, 'pending', ?5, ?6, ?6, ?6, 1, 'immediate', ?6, ?7, ?8, ?6, ?6, ?6, ?5)";

/// The same rows into the same tables and indexes, with the same settings of the connection, by one loop.
async fn bare_rate(path: &Path, together: usize, span: Duration) -> Result<f64> {
    open(path).await?.close().await;
    let options = SqliteConnectOptions::new().filename(path).journal_mode(SqliteJournalMode::Wal);
    let options =
        options.synchronous(SqliteSynchronous::Full).pragma("cache_size", "-8192").disable_statement_logging();
    let mut db = options.connect().await?;
    let (begun, mut made) = (Instant::now(), 0);
    while begun.elapsed() < span {
        if together == 1 {
            insert(&mut db, &new_lease(0)?).await?;
        } else {
            let mut transaction = db.begin().await?;
            for number in 0..together {
                insert(transaction.acquire().await?, &new_lease(number)?).await?;
            }
            transaction.commit().await?;
        }
        made += together;
    }
    Ok(made as f64 / begun.elapsed().as_secs_f64())
}

async fn insert(db: &mut SqliteConnection, new: &NewLease) -> Result<()> {
    let lease = &new.lease;
    sqlx::query(BARE)
        .bind(lease.id.to_string())
        .bind(&lease.role)
        .bind(&lease.target)
        .bind(lease.identity.as_str())
        .bind(lease.issued_at.unix_ms())
        .bind(lease.expires_at.unix_ms())
        .bind(lease.account.to_string())
        .bind(serde_json::to_string(&new.plan)?)
        .execute(db)
        .await?;
    Ok(())
}

/// A lease as the PostgreSQL engine plans it.
fn new_lease(number: usize) -> Result<NewLease> {
    let (id, now) = (LeaseId::new(), clock::wall());
    let account = AccountName::new("bench".parse()?, "abcd".parse::<StoreTag>()?, id);
    let body = json!({
        "database": "bench", "guard_database": "bench", "groups": ["reader"], "connection_limit": 20, "owned": "reassign",
    });
    let plan = Plan {
        account: account.clone(),
        fingerprint: Fingerprint("postgres:7512345678901234567".to_owned()),
        revocable: Revocable::Immediate,
        expires_in_target: true,
        renewable: true,
        ends_by: None,
        room: None,
        slack: Duration::ZERO,
        params: [].into(),
        body,
    };
    let end = now.plus(Duration::from_secs(3600));
    let lease = Lease {
        id,
        role: "orders-read".to_owned(),
        target: "orders".to_owned(),
        identity: format!("spiffe://bench.local/callers/{number}").parse()?,
        state: State::Pending,
        ended_by: None,
        issued_at: now,
        expires_at: end,
        max_expires_at: end,
        rotate_at: end,
        renewable: true,
        revocable: Revocable::Immediate,
        worst_case_until: Some(end),
        account,
        attempts: 0,
        last_error: None,
    };
    Ok(NewLease { lease, plan, mint_deadline: end, live_max: 1_000_000, replaces: None })
}

/// The table; nothing where nothing was measured.
pub fn text(points: &[Point]) -> String {
    if points.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "\nleases recorded in SQLite, the store beside a bare loop of the same inserts\ntogether |  bare/s | store/s | commits/s | ratio\n",
    );
    for p in points {
        let (bare, store, commits) = (p.bare_per_second, p.store_per_second, p.commits_per_second);
        let _ = writeln!(text, "{:8} | {bare:7.0} | {store:7.0} | {commits:9.0} | {:5.2}", p.together, p.ratio());
    }
    text
}

pub fn json(p: &Point) -> Value {
    json!({"together": p.together, "bare_per_second": p.bare_per_second, "store_per_second": p.store_per_second,
           "commits_per_second": p.commits_per_second, "ratio": p.ratio()})
}
