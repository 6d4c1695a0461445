//! One, two and four brokers on one PostgreSQL store, beside the bare database: mints and revocations.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use leasehold_testkit::{PgFixture, PgOptions, Session, distribution};
use serde_json::{Value, json};

use crate::bare::{self, Bare};
use crate::bed::{self, Bed, Serving};
use crate::brokered::{self, Workload};
use crate::load::{Until, drive};
use crate::minting::median;
use crate::options::Options;
use crate::revoking::BATCH;

/// How many brokers, point by point.
pub const BROKERS: [usize; 3] = [1, 2, 4];
/// Callers in all, spread over the brokers; as many bare connections.
pub const CALLERS: usize = 32;
/// Leases that one order ends.
pub const LEASES: usize = 2000;
/// The verifier is made cheap: else the server's own check of it would hide all else.
const ITERATIONS: u32 = 1;

/// One point: medians of all rounds, per second.
pub struct Point {
    pub brokers: usize,
    pub minted: Pair,
    pub revoked: Pair,
}

/// Both sides.
pub struct Pair {
    pub bare: f64,
    pub broker: f64,
}

impl Pair {
    pub fn ratio(&self) -> f64 {
        self.broker / self.bare
    }
}

pub async fn measure(bed: &Bed, options: &Options) -> Result<Vec<Point>> {
    // A server of its own, with its defaults: every commit waits for the disk.
    let store = PgFixture::own(PgOptions::on(distribution()).max_connections(200)).await;
    let owner = store.owner().await;
    let target = (bed::role(ITERATIONS), bed.admin.url.clone(), format!("scram_iterations = {ITERATIONS}"));
    let mut bare = Bare::some(bed, CALLERS, ITERATIONS).await?;
    let mut session = bed.session().await;
    let (mut servings, mut points) = (Vec::new(), Vec::new());
    for brokers in BROKERS {
        while servings.len() < brokers {
            let one = bed.serve(|dir| {
                bed.config_of(dir, std::slice::from_ref(&target)).postgres_store(&owner.url, &owner.password)
            });
            servings.push(one.await?);
        }
        points.push(point(bed, &servings, &mut bare, &mut session, options).await?);
    }
    Ok(points)
}

async fn point(
    bed: &Bed,
    servings: &[Serving],
    bare: &mut Vec<Bare>,
    session: &mut Session,
    options: &Options,
) -> Result<Point> {
    let mut workloads = Vec::new();
    for serving in servings {
        workloads.extend(Workload::some(bed, serving, CALLERS / servings.len(), ITERATIONS)?);
    }
    let (role, first) = (bed::role(ITERATIONS), servings.first().context("a broker")?);
    drive(&mut workloads, CALLERS, Until::count(CALLERS * 4)).await?;
    brokered::clear(first, session, &role).await?;
    let (mut bare_mints, mut mints, mut bare_ends, mut ends) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..options.rounds {
        for bare_now in [round % 2 == 0, round % 2 != 0] {
            if bare_now {
                bare_mints.push(drive(bare, CALLERS, Until::span(options.span)).await?.per_second());
                bare::clear(session).await?;
                drive(bare, CALLERS, Until::count(LEASES)).await?;
                let took = bare::revoke(session, BATCH).await?;
                bare_ends.push(LEASES as f64 / took.as_secs_f64());
            } else {
                mints.push(drive(&mut workloads, CALLERS, Until::span(options.span)).await?.per_second());
                brokered::clear(first, session, &role).await?;
                drive(&mut workloads, CALLERS, Until::count(LEASES)).await?;
                let (ended, took) = brokered::revoke(first, session, &role).await?;
                ensure!(ended == LEASES as u64, "{ended} leases were ended, not {LEASES}");
                ends.push(LEASES as f64 / took.as_secs_f64());
                brokered::settled(first, &role).await?;
            }
        }
    }
    let pair = |bare, broker| Pair { bare: median(bare), broker: median(broker) };
    Ok(Point { brokers: servings.len(), minted: pair(bare_mints, mints), revoked: pair(bare_ends, ends) })
}

/// The table; nothing where nothing was measured.
pub fn text(points: &[Point]) -> String {
    if points.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "\nbrokers on one PostgreSQL store, {CALLERS} callers in all, {LEASES} leases ended by one order, per second\n\
         brokers |  bare mints    mints  ratio |   bare ends     ends  ratio\n"
    );
    for Point { brokers, minted, revoked } in points {
        let sides = |p: &Pair| format!("{:11.0} {:8.0} {:6.2}", p.bare, p.broker, p.ratio());
        let _ = writeln!(text, "{brokers:7} | {} | {}", sides(minted), sides(revoked));
    }
    text
}

pub fn json(p: &Point) -> Value {
    let pair = |p: &Pair| json!({"bare_per_second": p.bare, "broker_per_second": p.broker, "ratio": p.ratio()});
    json!({"brokers": p.brokers, "callers": CALLERS, "mints": pair(&p.minted), "revocations": pair(&p.revoked)})
}
