//! Ten targets, of which two die: what the other eight notice. One refuses connections, the other accepts them and never
//! answers; both have leases that fall due meanwhile, and callers that go on asking.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use leasehold_client::Client;
use leasehold_client::wire::MintRequest;
use leasehold_testkit::{Flow, PgFixture, PgOptions, Proxy, distribution};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::bed::{Bed, Serving};
use crate::load::{Caller, Sample, Until, drive};
use crate::minting::{Side, median};
use crate::options::Options;

/// Targets that stay well, each with one caller that asks in a closed loop.
const GOOD: usize = 8;
const REFUSING: &str = "refusing";
const SILENT: &str = "silent";
/// Leases of each of the two that fall due while it is dead.
const DOOMED: usize = 50;
/// How long the leases of a measurement live: they end while it runs.
const TTL: &str = "2s";
/// Between two questions of a caller of one of the two, once they are dead. Before that nobody asks them: what the eight are
/// compared with is themselves alone.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// How long a circuit may take to open or close, and leases to go.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// The eight, with all well and with two dead.
#[derive(Default)]
pub struct Isolation {
    pub well: State,
    pub dead: State,
}

/// All rounds in one state.
#[derive(Default)]
pub struct State {
    pub mints: Side,
    /// Revocations, and the sum of their lateness in seconds.
    pub ended: (f64, f64),
}

impl State {
    /// The time under which this share of all answers came, in milliseconds: the median of the rounds, so that a second in
    /// which a neighbour had the machine does not decide.
    pub fn latency_ms(&self, share: f64) -> f64 {
        let one = |sample: &Sample| {
            let mut all = sample.latencies.clone();
            all.sort_unstable();
            let index = ((all.len() as f64 * share).ceil() as usize).clamp(1, all.len().max(1)) - 1;
            all.get(index).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1000.0)
        };
        median(self.mints.samples.iter().map(one).collect())
    }

    /// From falling due to being dead, on average, in milliseconds.
    pub fn late_ms(&self) -> f64 {
        self.ended.1 * 1000.0 / self.ended.0.max(1.0)
    }
}

struct Paced {
    client: Client,
    role: String,
}

impl Caller for Paced {
    async fn mint(&mut self) -> Result<()> {
        let ask = MintRequest { ttl: Some(TTL.to_owned()), ..MintRequest::default() };
        self.client.mint(&self.role, &ask).await.map(drop).map_err(Into::into)
    }
}

/// Measures both states in turns.
pub async fn measure(bed: &Bed, options: &Options) -> Result<Isolation> {
    let other = PgFixture::own(PgOptions::on(distribution())).await;
    let login = format!(
        "CREATE ROLE {} SUPERUSER LOGIN PASSWORD '{}'; CREATE ROLE {} NOLOGIN; CREATE DATABASE {}",
        bed.admin.name,
        bed.admin.password,
        bed.group,
        bed.fixture.database()
    );
    for statement in login.split("; ") {
        other.superuser().await.execute(statement).await?;
    }
    let proxy = Proxy::start(bed.fixture.server().port()).await;
    let at = |port: u16| bed.admin.url.replace(&format!(":{}/", bed.fixture.server().port()), &format!(":{port}/"));
    let lines = "scram_iterations = 1\nconnect_timeout = \"2s\"\nstatement_timeout = \"2s\"".to_owned();
    let mut targets: Vec<_> = (0..GOOD).map(|n| (good(n), bed.admin.url.clone(), lines.clone())).collect();
    targets.push((REFUSING.to_owned(), at(other.server().port()), lines.clone()));
    targets.push((SILENT.to_owned(), at(proxy.port()), lines));
    let serving = bed.serve(|dir| bed.config_of(dir, &targets)).await?;
    let caller =
        |n: usize, role: String| Ok(Paced { client: bed.client(&serving.broker, &format!("/callers/{n}"))?, role });
    let mut callers = (0..GOOD).map(|n| caller(n, good(n))).collect::<Result<Vec<_>>>()?;
    let dead = watch::Sender::new(false);
    let asking: Vec<_> = [REFUSING, SILENT]
        .into_iter()
        .enumerate()
        .map(|(n, role)| Ok(tokio::spawn(ask_on(caller(GOOD + n, role.to_owned())?, dead.subscribe()))))
        .collect::<Result<_>>()?;

    let mut found = Isolation::default();
    drive(&mut callers, GOOD, Until::span(Duration::from_secs(1))).await?;
    for _ in 0..options.rounds {
        round(&serving, &mut callers, options.span, &mut found.well).await?;
        for (n, role) in [REFUSING, SILENT].into_iter().enumerate() {
            let mut doomed = vec![caller(GOOD + n, role.to_owned())?];
            drive(&mut doomed, 1, Until::count(DOOMED)).await?;
        }
        other.server().stop().await?;
        proxy.to_client(Flow::Stall);
        dead.send_replace(true);
        until_circuits(&serving, 1.0).await?;
        round(&serving, &mut callers, options.span, &mut found.dead).await?;
        dead.send_replace(false);
        other.server().restart().await?;
        proxy.mend();
        proxy.cut();
        until_circuits(&serving, 0.0).await?;
    }
    asking.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(found)
}

fn good(n: usize) -> String {
    format!("good-{n}")
}

/// A caller of one of the two while they are dead, who asks at a steady pace whatever the answer is.
async fn ask_on(mut caller: Paced, mut dead: watch::Receiver<bool>) {
    while dead.wait_for(|dead| *dead).await.is_ok() {
        let _ = caller.mint().await;
        sleep(ASK_EVERY).await;
    }
}

async fn round(serving: &Serving, callers: &mut Vec<Paced>, span: Duration, state: &mut State) -> Result<()> {
    let before = ended(serving).await?;
    let sample: Sample = drive(callers, GOOD, Until::span(span.max(Duration::from_secs(4)))).await?;
    let after = ended(serving).await?;
    state.mints.samples.push(sample);
    state.ended = (state.ended.0 + after.0 - before.0, state.ended.1 + after.1 - before.1);
    Ok(())
}

/// Revocations in the good targets so far, and the sum of their lateness.
async fn ended(serving: &Serving) -> Result<(f64, f64)> {
    let (_, text) = serving.broker.ops("/metrics").await?;
    let sum = |what: &str| -> f64 {
        let series = format!("leasehold_revocation_lag_seconds_{what}{{target=\"good-");
        let values = text.lines().filter(|line| line.starts_with(&series)).filter_map(|line| line.rsplit(' ').next());
        values.filter_map(|value| value.parse::<f64>().ok()).sum()
    };
    Ok((sum("count"), sum("sum")))
}

async fn until_circuits(serving: &Serving, open: f64) -> Result<()> {
    let begun = Instant::now();
    for target in [REFUSING, SILENT] {
        let series = format!("leasehold_target_circuit_open{{target=\"{target}\"}}");
        while serving.broker.metric(&series).await.context("the circuit's metric")? != open {
            ensure!(begun.elapsed() < WAIT_MAX, "the circuit of {target} is not {open} after {WAIT_MAX:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(())
}

pub fn text(found: &Isolation) -> String {
    let mut text = format!(
        "\n{GOOD} good targets, and two more that are well and quiet, or dead and asked for\n            mints/s     p50     p99 | revoked late by, ms\n"
    );
    for (name, state) in [("both well", &found.well), ("both dead", &found.dead)] {
        let (mints, late) = (&state.mints, state.late_ms());
        let _ = writeln!(
            text,
            "{name:10} {:8.0} {:7.2} {:7.2} | {late:8.1}  ({:.0} leases)",
            mints.per_second(),
            state.latency_ms(0.5),
            state.latency_ms(0.99),
            state.ended.0,
        );
    }
    let (p99, late) = ratios(found);
    let _ = writeln!(text, "dead to well: p99 {p99:.2}, lateness {late:.2}");
    text
}

/// Dead to well: p99 of mints, lateness of revocations.
fn ratios(found: &Isolation) -> (f64, f64) {
    let p99 = |state: &State| state.latency_ms(0.99);
    (p99(&found.dead) / p99(&found.well), found.dead.late_ms() / found.well.late_ms())
}

pub fn json(found: &Isolation) -> Value {
    let state = |state: &State| {
        json!({"mints_per_second": state.mints.per_second(), "p50_ms": state.latency_ms(0.5),
               "p99_ms": state.latency_ms(0.99), "revoked": state.ended.0, "revoked_late_ms": state.late_ms()})
    };
    let (p99, late) = ratios(found);
    json!({"good_targets": GOOD, "both_well": state(&found.well), "both_dead": state(&found.dead),
           "p99_ratio": p99, "lateness_ratio": late})
}
