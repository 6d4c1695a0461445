//! Memory: that it does not grow with the number of live leases.

use anyhow::{Context, Result};
use leasehold_testkit::resident_kib;

use crate::bed::{Bed, Serving};
use crate::brokered::Workload;
use crate::load::{Until, drive};

/// How many leases live.
pub const LEASES: usize = 10_000;
const ITERATIONS: u32 = 1;
const CALLERS: usize = 16;

/// Resident memory of the broker, in KiB.
pub struct Memory {
    /// Just started, without a lease.
    pub fresh_kib: u64,
    /// After so many mints, all alive.
    pub busy_kib: u64,
    /// Started again with all of them alive: what the leases themselves take.
    pub again_kib: u64,
}

/// Leaves its accounts behind: the server goes with them.
pub async fn measure(bed: &Bed) -> Result<Memory> {
    let mut serving = bed.broker().await?;
    let fresh_kib = resident(&serving)?;
    let mut workloads = Workload::some(bed, &serving, CALLERS, ITERATIONS)?;
    let sample = drive(&mut workloads, CALLERS, Until::count(LEASES)).await?;
    anyhow::ensure!(sample.latencies.len() == LEASES, "only {} leases were made", sample.latencies.len());
    let busy_kib = resident(&serving)?;
    serving.broker.restart().await?;
    Ok(Memory { fresh_kib, busy_kib, again_kib: resident(&serving)? })
}

fn resident(serving: &Serving) -> Result<u64> {
    resident_kib(serving.broker.pid().context("the broker has ended")?)
}
