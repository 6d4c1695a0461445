//! What a run found, for people and for programs.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::bed::Bed;
use crate::isolation::{self, Isolation};
use crate::memory::{self, Memory};
use crate::minting::{Point, Side};
use crate::options::Options;
use crate::revoking::{self, Revoking};
use crate::{clouds, lag, scale, several, tokens, writer};

/// Above this share of other work the figures are not worth much.
const BUSY_WORTH_TELLING: f64 = 0.1;

/// One run.
pub struct Report {
    pub server: String,
    pub cores: usize,
    pub rounds: usize,
    pub span_ms: u128,
    /// The share of all cores that others kept busy before the run, and after.
    pub busy_before: f64,
    pub busy_after: f64,
    pub minting: Vec<Point>,
    pub revoking: Option<Revoking>,
    pub memory: Option<Memory>,
    pub isolation: Option<Isolation>,
    pub writer: Vec<writer::Point>,
    pub scale: Vec<scale::Point>,
    pub several: Vec<several::Point>,
    pub lag: Option<lag::Lag>,
    pub tokens: Option<tokens::Tokens>,
    pub clouds: Vec<clouds::Point>,
}

impl Report {
    pub fn new(bed: &Bed, options: &Options, busy_before: f64) -> Self {
        Self {
            server: format!("PostgreSQL {}", bed.fixture.server().installation().version()),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            rounds: options.rounds,
            span_ms: options.span.as_millis(),
            busy_before,
            busy_after: 0.0,
            minting: Vec::new(),
            revoking: None,
            memory: None,
            isolation: None,
            writer: Vec::new(),
            scale: Vec::new(),
            several: Vec::new(),
            lag: None,
            tokens: None,
            clouds: Vec::new(),
        }
    }

    pub fn text(&self) -> String {
        let mut text = format!(
            "\n{}, fsync on, {} cores shared by server, broker and load; {} rounds of {} ms each, order alternating.\n",
            self.server, self.cores, self.rounds, self.span_ms
        );
        let busy = self.busy_before.max(self.busy_after);
        if busy > BUSY_WORTH_TELLING {
            let _ = writeln!(text, "Careful: others kept {:.0} % of the machine busy around this run.", busy * 100.0);
        }
        if !self.minting.is_empty() {
            text.push_str(&minting_text(&self.minting));
        }
        if let Some(found) = &self.revoking {
            let _ = writeln!(
                text,
                "\nrevocation of {} due leases: bare {:.0}/s in batches of {}, broker {:.0}/s, ratio {:.2}",
                revoking::LEASES,
                found.bare_per_second,
                revoking::BATCH,
                found.broker_per_second,
                found.ratio()
            );
        }
        if let Some(found) = &self.memory {
            let mib = |kib: u64| kib as f64 / 1024.0;
            let _ = writeln!(
                text,
                "\nresident memory of the broker: {:.1} MiB after start, {:.1} MiB after {} mints, \
                 {:.1} MiB started again with {} leases alive",
                mib(found.fresh_kib),
                mib(found.busy_kib),
                memory::LEASES,
                mib(found.again_kib),
                memory::LEASES
            );
        }
        if let Some(found) = &self.isolation {
            text.push_str(&isolation::text(found));
        }
        text.push_str(&writer::text(&self.writer));
        text.push_str(&scale::text(&self.scale));
        text.push_str(&several::text(&self.several));
        text.push_str(&lag::text(self.lag.as_ref()));
        text.push_str(&tokens::text(self.tokens.as_ref()));
        text.push_str(&clouds::text(&self.clouds));
        text
    }

    pub fn json(&self) -> Value {
        let point = |p: &Point| {
            json!({"iterations": p.iterations, "callers": p.callers, "bare": side_json(&p.bare),
                   "broker": side_json(&p.broker), "ratio": p.ratio()})
        };
        let revoking = self.revoking.as_ref().map(|r| {
            json!({"leases": revoking::LEASES, "batch": revoking::BATCH, "bare_per_second": r.bare_per_second,
                   "broker_per_second": r.broker_per_second, "ratio": r.ratio()})
        });
        let memory = self.memory.as_ref().map(|m| {
            json!({"leases": memory::LEASES, "after_start_kib": m.fresh_kib, "after_mints_kib": m.busy_kib,
                   "after_restart_kib": m.again_kib})
        });
        json!({
            "server": self.server, "cores": self.cores, "rounds": self.rounds, "span_ms": self.span_ms,
            "busy_before": self.busy_before, "busy_after": self.busy_after,
            "minting": self.minting.iter().map(point).collect::<Vec<_>>(), "revoking": revoking, "memory": memory,
            "isolation": self.isolation.as_ref().map(isolation::json),
            "store": self.writer.iter().map(writer::json).collect::<Vec<_>>(),
            "scale": self.scale.iter().map(scale::json).collect::<Vec<_>>(),
            "several": self.several.iter().map(several::json).collect::<Vec<_>>(),
            "lag": self.lag.as_ref().map(lag::json),
            "tokens": self.tokens.as_ref().map(tokens::json),
            "clouds": clouds::json(&self.clouds),
        })
    }
}

/// Writes the JSON beside what cargo builds.
pub fn write(report: &Report) -> Result<PathBuf> {
    let program = std::env::current_exe().context("where is this program?")?;
    // target/release/deps/broker-…
    let target = program.ancestors().nth(3).context("this program lies in no target folder")?;
    let path = target.join("bench.json");
    std::fs::write(&path, format!("{:#}\n", report.json())).context("cannot write bench.json")?;
    Ok(path)
}

fn minting_text(points: &[Point]) -> String {
    let mut text = String::from(
        "\nmints, the broker beside the bare CREATE ROLE                                         | CPU ms per mint\n\
         SCRAM   callers |  bare/s     p50     p99 | broker/s    p50     p99 | ratio | bare: server load | server broker load\n",
    );
    for p in points {
        let [bare, broker] = [&p.bare, &p.broker]
            .map(|s| format!("{:8.0} {:7.2} {:7.2}", s.per_second(), s.latency_ms(0.5), s.latency_ms(0.99)));
        let _ = writeln!(
            text,
            "{:5} {:9} | {bare} | {broker} | {:5.2} | {:12.2} {:4.2} | {:6.2} {:6.2} {:4.2}",
            p.iterations,
            p.callers,
            p.ratio(),
            p.bare.cpu_ms(|cpu| cpu.server),
            p.bare.cpu_ms(|cpu| cpu.load),
            p.broker.cpu_ms(|cpu| cpu.server),
            p.broker.cpu_ms(|cpu| cpu.broker),
            p.broker.cpu_ms(|cpu| cpu.load),
        );
    }
    text
}

fn side_json(side: &Side) -> Value {
    json!({
        "per_second": side.per_second(), "p50_ms": side.latency_ms(0.5), "p99_ms": side.latency_ms(0.99),
        "cpu_ms_per_mint": {"server": side.cpu_ms(|c| c.server), "broker": side.cpu_ms(|c| c.broker),
                            "load": side.cpu_ms(|c| c.load)},
    })
}
