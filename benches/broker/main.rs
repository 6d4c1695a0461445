//! `make bench`: the broker beside the bare database, in one run on one machine (docs/performance.md).
//!
//! Real parts only: a PostgreSQL of its own, the built `leasehold serve` as its own process, callers over kept mTLS
//! connections. Both sides do the same thing in turns, because what else a machine does changes from second to second:
//! only the ratios of one run mean something.

mod bare;
mod bed;
mod brokered;
mod clouds;
mod isolation;
mod lag;
mod load;
mod memory;
mod minting;
mod options;
mod report;
mod revoking;
mod scale;
mod several;
mod tokens;
mod usage;
mod writer;

use std::time::Duration;

use anyhow::{Context, Result};

use crate::options::{Options, Part};
use crate::report::Report;

/// No run takes longer, whatever goes wrong.
const RUN_MAX: Duration = Duration::from_secs(1800);

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::read(std::env::args().skip(1))?;
    let report = tokio::time::timeout(RUN_MAX, run(&options)).await.context("the run took too long")??;
    let path = report::write(&report)?;
    if options.json {
        println!("{}", report.json());
    } else {
        print!("{}", report.text());
        println!("\nThe same as JSON: {}", path.display());
    }
    Ok(())
}

async fn run(options: &Options) -> Result<Report> {
    let idle = usage::busy_share(Duration::from_millis(500)).await?;
    let bed = bed::Bed::make().await?;
    let mut report = Report::new(&bed, options, idle);
    if options.does(Part::Mint) {
        report.minting = minting::measure(&bed, options).await?;
    }
    if options.does(Part::Revoke) {
        report.revoking = Some(revoking::measure(&bed, options).await?);
    }
    if options.does(Part::Memory) {
        report.memory = Some(memory::measure(&bed).await?);
    }
    if options.does(Part::Isolation) {
        report.isolation = Some(isolation::measure(&bed, options).await?);
    }
    if options.does(Part::Store) {
        report.writer = writer::measure(options).await?;
    }
    if options.does(Part::Scale) {
        report.scale = scale::measure(&bed).await?;
    }
    if options.does(Part::Several) {
        report.several = several::measure(&bed, options).await?;
    }
    if options.does(Part::Lag) {
        report.lag = Some(lag::measure(&bed, options).await?);
    }
    if options.does(Part::Tokens) {
        report.tokens = Some(tokens::measure(&bed, options).await?);
    }
    if options.does(Part::Clouds) {
        report.clouds = clouds::measure(&bed, options).await?;
    }
    report.busy_after = usage::busy_share(Duration::from_millis(500)).await?;
    Ok(report)
}
