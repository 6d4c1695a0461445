//! Very many leases that fall due at once: how long after its end each is dead, beside a plain loop of the same statements.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use leasehold_sdk::clock;
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};
use tokio::time::{Instant, sleep};

use crate::bare::{self, Bare};
use crate::bed::{self, Bed};
use crate::brokered::Workload;
use crate::load::{Until, drive};
use crate::options::Options;
use crate::revoking::BATCH;

/// How many fall due in the same moment.
pub const LEASES: usize = 100_000;
/// The same in a quick run.
const LEASES_QUICK: usize = 20_000;
const CALLERS: usize = 32;
const ITERATIONS: u32 = 1;
/// Between the broker's start and the moment in which all fall due.
const AHEAD: Duration = Duration::from_secs(5);
/// How long all may take.
const END_MAX: Duration = Duration::from_secs(240);

/// From due to dead, in milliseconds.
pub struct Lag {
    pub leases: usize,
    pub bare: Percentiles,
    pub broker: Percentiles,
}

/// Of one side.
#[derive(Clone, Copy)]
pub struct Percentiles {
    pub p50: f64,
    pub p99: f64,
}

impl Percentiles {
    fn of(mut all: Vec<f64>) -> Self {
        all.sort_by(f64::total_cmp);
        let at = |share: f64| all[((all.len() as f64 * share).ceil() as usize).clamp(1, all.len()) - 1];
        Self { p50: at(0.5), p99: at(0.99) }
    }
}

pub async fn measure(bed: &Bed, options: &Options) -> Result<Lag> {
    let leases = if options.rounds > 2 { LEASES } else { LEASES_QUICK };
    Ok(Lag { leases, bare: bare_side(bed, leases).await?, broker: broker_side(bed, leases).await? })
}

async fn bare_side(bed: &Bed, leases: usize) -> Result<Percentiles> {
    let mut callers = Bare::some(bed, CALLERS, ITERATIONS).await?;
    drive(&mut callers, CALLERS, Until { count: leases, span: END_MAX }).await?;
    let ended = bare::revoke_each(&mut bed.session().await, BATCH).await?;
    ensure!(ended.len() == leases, "{} accounts were ended, not {leases}", ended.len());
    Ok(Percentiles::of(ended.iter().map(|after| after.as_secs_f64() * 1000.0).collect()))
}

/// Minted in the ordinary way; then, while the broker is down, all get the same end, a few seconds ahead.
async fn broker_side(bed: &Bed, leases: usize) -> Result<Percentiles> {
    let mut serving = bed.broker().await?;
    let mut workloads = Workload::some(bed, &serving, CALLERS, ITERATIONS)?;
    drive(&mut workloads, CALLERS, Until { count: leases, span: END_MAX }).await?;
    serving.broker.terminate().await?;
    let mut db = SqliteConnection::connect(&format!("sqlite://{}", serving.store().display())).await?;
    let end = clock::wall().plus(AHEAD).unix_ms();
    let due = "UPDATE leases SET expires_at = ?1, due_at = ?1, wake_at = ?1 WHERE state = 'active'";
    let moved = sqlx::query(due).bind(end).execute(&mut db).await?.rows_affected();
    ensure!(moved == leases as u64, "{moved} leases live, not {leases}");
    serving.broker.restart().await?;
    let begun = Instant::now();
    let mut session = bed.session().await;
    while bed::accounts(&mut session).await? > 0 {
        ensure!(begun.elapsed() < END_MAX, "accounts are left after {END_MAX:?}");
        // To count them is work for the server, too.
        sleep(Duration::from_secs(1)).await;
    }
    let ended = "SELECT count(*) FROM leases WHERE ended_at IS NOT NULL";
    while sqlx::query_scalar::<_, i64>(ended).fetch_one(&mut db).await? < leases as i64 {
        ensure!(begun.elapsed() < END_MAX, "leases are on record as live after {END_MAX:?}");
        sleep(Duration::from_secs(1)).await;
    }
    let lags: Vec<i64> = sqlx::query_scalar("SELECT ended_at - expires_at FROM leases").fetch_all(&mut db).await?;
    let lags = lags.into_iter().map(|ms| u32::try_from(ms.max(0)).map(f64::from));
    Ok(Percentiles::of(lags.collect::<Result<_, _>>().context("a lag of weeks")?))
}

/// The lines; nothing where nothing was measured.
pub fn text(lag: Option<&Lag>) -> String {
    let Some(Lag { leases, bare, broker }) = lag else { return String::new() };
    format!(
        "\n{leases} leases that fall due in the same moment, from due to dead: bare loop p50 {:.0} ms, p99 {:.0} ms; \
         broker p50 {:.0} ms, p99 {:.0} ms; ratio (bare to broker) p50 {:.2}, p99 {:.2}\n",
        bare.p50,
        bare.p99,
        broker.p50,
        broker.p99,
        bare.p50 / broker.p50,
        bare.p99 / broker.p99
    )
}

pub fn json(lag: &Lag) -> Value {
    let side = |p: &Percentiles| json!({"p50_ms": p.p50, "p99_ms": p.p99});
    json!({"leases": lag.leases, "bare": side(&lag.bare), "broker": side(&lag.broker),
           "ratio_p50": lag.bare.p50 / lag.broker.p50, "ratio_p99": lag.bare.p99 / lag.broker.p99})
}
