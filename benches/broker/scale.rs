//! Start-up time and memory at very many live leases: what a broker pays for having them.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result};
use leasehold_client::wire::MintRequest;
use leasehold_testkit::{Proxy, copy_lease, resident_kib};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::bed::{self, Bed, Serving};
use crate::minting::median;

/// How many leases live, point by point.
pub const LEASES: [u32; 4] = [0, 10_000, 100_000, 1_000_000];
/// Starts at each point; the median counts.
const STARTS: usize = 3;
/// A broker is measured when it has counted its leases and looked at its target.
const SETTLE: Duration = Duration::from_secs(4);
const ITERATIONS: u32 = 1;

/// One point.
pub struct Point {
    pub leases: u32,
    /// From the start of the process until `/readyz` says 200.
    pub start_ms: f64,
    /// Resident memory once it is settled.
    pub resident_kib: u64,
    /// Size of the store's file.
    pub store_kib: u64,
}

/// The accounts of the copies do not exist, so the target is out of reach here: else the reconciler would find that out, as it
/// should, and end them all.
pub async fn measure(bed: &Bed) -> Result<Vec<Point>> {
    let port = bed.fixture.server().port();
    let proxy = Proxy::start(port).await;
    let url = bed.admin.url.replace(&format!(":{port}/"), &format!(":{}/", proxy.port()));
    let target = (bed::role(ITERATIONS), url, format!("scram_iterations = {ITERATIONS}"));
    let mut serving = bed.serve(|dir| bed.config_of(dir, &[target])).await?;
    let client = bed.client(&serving.broker, "/callers/0")?;
    let ask = MintRequest { ttl: Some("8h".to_owned()), ..MintRequest::default() };
    let model =
        client.mint(&bed::role(ITERATIONS), &ask).await.context("the first lease")?.lease.context("a lease")?.id;
    drop(proxy);
    let (mut points, mut there) = (Vec::new(), 0);
    for leases in LEASES {
        serving.broker.terminate().await?;
        copy_lease(&serving.store(), &model, there, leases).await?;
        there = leases;
        points.push(point(&mut serving, leases).await?);
    }
    Ok(points)
}

async fn point(serving: &mut Serving, leases: u32) -> Result<Point> {
    let mut starts = Vec::new();
    for left in (0..STARTS).rev() {
        let begun = Instant::now();
        serving.broker.restart().await?;
        starts.push(begun.elapsed().as_secs_f64() * 1000.0);
        if left > 0 {
            serving.broker.terminate().await?;
        }
    }
    sleep(SETTLE).await;
    let resident_kib = resident_kib(serving.broker.pid().context("the broker has ended")?)?;
    let store_kib = std::fs::metadata(serving.store())?.len() / 1024;
    Ok(Point { leases, start_ms: median(starts), resident_kib, store_kib })
}

/// The table, beside a broker without leases; nothing where nothing was measured.
pub fn text(points: &[Point]) -> String {
    let Some(none) = points.first() else { return String::new() };
    let mut text = String::from(
        "\na broker with so many live leases, beside one with none\n   leases | ready ms | more | resident MiB | more | store MiB\n",
    );
    let mib = |kib: u64| kib as f64 / 1024.0;
    for p in points {
        let (more_ms, more_mib) = (p.start_ms - none.start_ms, mib(p.resident_kib) - mib(none.resident_kib));
        let (start, resident, store) = (p.start_ms, mib(p.resident_kib), mib(p.store_kib));
        let _ = writeln!(
            text,
            "{:9} | {start:8.0} | {more_ms:4.0} | {resident:12.1} | {more_mib:4.1} | {store:9.1}",
            p.leases
        );
    }
    text
}

pub fn json(p: &Point) -> Value {
    json!({"leases": p.leases, "ready_ms": p.start_ms, "resident_kib": p.resident_kib, "store_kib": p.store_kib})
}
