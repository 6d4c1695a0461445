//! What processes use, as the kernel counts it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// The unit of CPU time in `/proc`: `USER_HZ`, 100 on every Linux that we run on.
const TICK: Duration = Duration::from_millis(10);

/// CPU time of the three parties to a measurement.
#[derive(Clone, Copy, Default)]
pub struct Cpu {
    /// The database server, all its processes.
    pub server: Duration,
    /// The broker.
    pub broker: Duration,
    /// This program: the callers, or the bare connections.
    pub load: Duration,
}

impl Cpu {
    /// Used up to now.
    pub fn now(postmaster: Option<u32>, broker: Option<u32>) -> Result<Self> {
        Ok(Self {
            server: postmaster.map(family).transpose()?.unwrap_or_default(),
            broker: broker.map(|pid| own(&stat(pid)?)).transpose()?.unwrap_or_default(),
            load: own(&stat(std::process::id())?)?,
        })
    }

    pub fn since(self, before: Self) -> Self {
        Self {
            server: self.server.saturating_sub(before.server),
            broker: self.broker.saturating_sub(before.broker),
            load: self.load.saturating_sub(before.load),
        }
    }

    pub fn plus(self, other: Self) -> Self {
        Self { server: self.server + other.server, broker: self.broker + other.broker, load: self.load + other.load }
    }
}

/// The share of all cores that is busy, measured over `span`.
pub async fn busy_share(span: Duration) -> Result<f64> {
    let before = machine()?;
    tokio::time::sleep(span).await;
    let after = machine()?;
    let (busy, all) = (after.0 - before.0, after.1 - before.1);
    Ok(busy as f64 / all.max(1) as f64)
}

/// Busy and all ticks of the machine since it booted.
fn machine() -> Result<(u64, u64)> {
    let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    let line = text.lines().next().context("/proc/stat is empty")?;
    let ticks: Vec<u64> = line.split_whitespace().skip(1).take(8).filter_map(|word| word.parse().ok()).collect();
    let all: u64 = ticks.iter().sum();
    let idle: u64 = ticks.iter().skip(3).take(2).sum();
    Ok((all - idle, all))
}

/// A server with its living processes and those that it has seen end.
fn family(postmaster: u32) -> Result<Duration> {
    let parent = stat(postmaster)?;
    let mut sum = own(&parent)? + ended_children(&parent)?;
    for entry in fs::read_dir("/proc").context("cannot read /proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may have ended since; then its parent has counted it, or will at the next look.
        let Ok(fields) = stat(pid) else { continue };
        if fields.get(1).is_some_and(|ppid| *ppid == postmaster.to_string()) {
            sum += own(&fields)?;
        }
    }
    Ok(sum)
}

/// The fields of `/proc/PID/stat` from the third on (proc_pid_stat(5)): the second may hold spaces.
fn stat(pid: u32) -> Result<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("no process {pid}"))?;
    let (_, rest) = text.rsplit_once(") ").context("odd /proc/PID/stat")?;
    Ok(rest.split_whitespace().map(str::to_owned).collect())
}

fn own(fields: &[String]) -> Result<Duration> {
    ticks(fields, 11)
}

fn ended_children(fields: &[String]) -> Result<Duration> {
    ticks(fields, 13)
}

/// The sum of user and system time that begins at this field.
fn ticks(fields: &[String], first: usize) -> Result<Duration> {
    let field = |index: usize| -> Result<u32> { Ok(fields.get(index).context("a field is missing")?.parse()?) };
    Ok(TICK * (field(first)? + field(first + 1)?))
}
