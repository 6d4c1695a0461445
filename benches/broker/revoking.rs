//! Revocations: so many due leases, and the same accounts ended by bare statements.

use anyhow::{Result, ensure};

use crate::bare::{self, Bare};
use crate::bed::{self, Bed};
use crate::brokered::{self, Workload};
use crate::load::{Until, drive};
use crate::minting::median;
use crate::options::Options;

/// How many are due at once.
pub const LEASES: usize = 1000;
/// Accounts in one batch: as many as the engine takes.
pub const BATCH: usize = 200;
/// What is measured does not depend on the verifier; the cheap one is made faster.
const ITERATIONS: u32 = 1;
const CALLERS: usize = 16;

/// Revocations per second, by the medians of all rounds.
pub struct Revoking {
    pub bare_per_second: f64,
    pub broker_per_second: f64,
}

impl Revoking {
    pub fn ratio(&self) -> f64 {
        self.broker_per_second / self.bare_per_second
    }
}

pub async fn measure(bed: &Bed, options: &Options) -> Result<Revoking> {
    let serving = bed.broker().await?;
    let mut session = bed.session().await;
    let mut bare = Bare::some(bed, CALLERS, ITERATIONS).await?;
    let mut workloads = Workload::some(bed, &serving, CALLERS, ITERATIONS)?;
    let role = bed::role(ITERATIONS);
    let (mut bare_rates, mut broker_rates) = (Vec::new(), Vec::new());
    for round in 0..options.rounds.max(2) {
        for bare_now in [round % 2 == 0, round % 2 != 0] {
            if bare_now {
                drive(&mut bare, CALLERS, Until::count(LEASES)).await?;
                let took = bare::revoke(&mut session, BATCH).await?;
                bare_rates.push(LEASES as f64 / took.as_secs_f64());
            } else {
                drive(&mut workloads, CALLERS, Until::count(LEASES)).await?;
                let (ended, took) = brokered::revoke(&serving, &mut session, &role).await?;
                ensure!(ended == LEASES as u64, "{ended} leases were ended, not {LEASES}");
                broker_rates.push(LEASES as f64 / took.as_secs_f64());
                brokered::settled(&serving, &role).await?;
            }
        }
    }
    Ok(Revoking { bare_per_second: median(bare_rates), broker_per_second: median(broker_rates) })
}
