//! Mints: the broker and the bare database in turns, point by point.

use std::time::Duration;

use anyhow::Result;
use leasehold_testkit::Session;

use crate::bare::{self, Bare};
use crate::bed::{self, Bed, Serving};
use crate::brokered::{self, Workload};
use crate::load::{Caller, Sample, Until, drive};
use crate::options::Options;
use crate::usage::Cpu;

/// Before the first measurement of a point: connections are made, caches filled.
const WARM_UP: Duration = Duration::from_millis(300);

/// One line of the table.
pub struct Point {
    pub iterations: u32,
    pub callers: usize,
    pub bare: Side,
    pub broker: Side,
}

/// All rounds of one side.
#[derive(Default)]
pub struct Side {
    pub samples: Vec<Sample>,
    pub cpu: Cpu,
}

impl Point {
    /// Broker to bare, by the medians of all rounds.
    pub fn ratio(&self) -> f64 {
        self.broker.per_second() / self.bare.per_second()
    }
}

impl Side {
    /// The median of the rounds.
    pub fn per_second(&self) -> f64 {
        median(self.samples.iter().map(Sample::per_second).collect())
    }

    /// The time under which this share of all answers came, in milliseconds.
    pub fn latency_ms(&self, share: f64) -> f64 {
        let mut all: Vec<Duration> = self.samples.iter().flat_map(|s| s.latencies.iter().copied()).collect();
        all.sort_unstable();
        let index = ((all.len() as f64 * share).ceil() as usize).clamp(1, all.len().max(1)) - 1;
        all.get(index).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1000.0)
    }

    /// CPU time for one mint, in milliseconds.
    pub fn cpu_ms(&self, part: impl Fn(&Cpu) -> Duration) -> f64 {
        let mints: usize = self.samples.iter().map(|sample| sample.latencies.len()).sum();
        part(&self.cpu).as_secs_f64() * 1000.0 / mints.max(1) as f64
    }
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

/// Measures every point.
pub async fn measure(bed: &Bed, options: &Options) -> Result<Vec<Point>> {
    let serving = bed.broker().await?;
    let mut session = bed.session().await;
    let most = options.callers.iter().copied().max().unwrap_or(1);
    let mut points = Vec::new();
    for iterations in &options.iterations {
        let mut bare = Bare::some(bed, most, *iterations).await?;
        let mut workloads = Workload::some(bed, &serving, most, *iterations)?;
        for callers in &options.callers {
            let mut sides = Sides { bed, serving: &serving, session: &mut session, iterations: *iterations };
            points.push(sides.point(&mut bare, &mut workloads, *callers, options).await?);
        }
    }
    Ok(points)
}

struct Sides<'a> {
    bed: &'a Bed,
    serving: &'a Serving,
    session: &'a mut Session,
    iterations: u32,
}

impl Sides<'_> {
    async fn point(
        &mut self,
        bare: &mut Vec<Bare>,
        workloads: &mut Vec<Workload>,
        n: usize,
        options: &Options,
    ) -> Result<Point> {
        let mut point =
            Point { iterations: self.iterations, callers: n, bare: Side::default(), broker: Side::default() };
        drive(bare, n, Until::span(WARM_UP)).await?;
        drive(workloads, n, Until::span(WARM_UP)).await?;
        self.clear().await?;
        for round in 0..options.rounds {
            // Bare, broker, broker, bare …: a drift of the machine meets both alike.
            for bare_now in [round % 2 == 0, round % 2 != 0] {
                if bare_now {
                    self.round(bare, n, options.span, &mut point.bare).await?;
                } else {
                    self.round(workloads, n, options.span, &mut point.broker).await?;
                }
                self.clear().await?;
            }
        }
        Ok(point)
    }

    async fn round<C: Caller>(&self, callers: &mut Vec<C>, n: usize, span: Duration, side: &mut Side) -> Result<()> {
        let (server, broker) = (self.bed.fixture.server().pid(), self.serving.broker.pid());
        let before = Cpu::now(server, broker)?;
        let sample = drive(callers, n, Until::span(span)).await?;
        side.cpu = side.cpu.plus(Cpu::now(server, broker)?.since(before));
        side.samples.push(sample);
        Ok(())
    }

    async fn clear(&mut self) -> Result<()> {
        bare::clear(self.session).await?;
        brokered::clear(self.serving, self.session, &bed::role(self.iterations)).await
    }
}
