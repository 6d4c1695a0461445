//! What to measure, from the command line.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail};

const USAGE: &str = "usage: cargo bench --bench broker -- [--quick] [--json] [--only mint|revoke|memory|isolation|store|scale|several|lag|tokens|clouds] \
                     [--iterations N,..] [--callers N,..] [--rounds N] [--seconds S]";

/// A part of the run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Mint,
    Revoke,
    Memory,
    Isolation,
    Store,
    Scale,
    Several,
    Lag,
    Tokens,
    /// Sessions of a cloud.
    Clouds,
}

/// What to measure and for how long.
pub struct Options {
    /// Print JSON in place of the tables.
    pub json: bool,
    /// Only this part.
    pub only: Option<Part>,
    /// PBKDF2 iterations of the verifiers; each is a target of its own.
    pub iterations: Vec<u32>,
    /// How many callers, or bare connections, work at once.
    pub callers: Vec<usize>,
    /// How often each side is measured, at each point.
    pub rounds: usize,
    /// How long one measurement takes.
    pub span: Duration,
}

impl Options {
    pub fn read(arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            json: false,
            only: None,
            iterations: super::bed::ITERATIONS.to_vec(),
            callers: vec![1, 8, 32],
            rounds: 4,
            span: Duration::from_millis(1500),
        };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{argument} needs a value; {USAGE}"));
            match argument.as_str() {
                "--bench" => {} // what cargo tells every benchmark
                "--json" => options.json = true,
                "--quick" => (options.rounds, options.span) = (2, Duration::from_millis(700)),
                "--only" => options.only = Some(value()?.parse()?),
                "--iterations" => options.iterations = list(&value()?)?,
                "--callers" => options.callers = list(&value()?)?,
                "--rounds" => options.rounds = value()?.parse().context(USAGE)?,
                "--seconds" => options.span = Duration::try_from_secs_f64(value()?.parse().context(USAGE)?)?,
                other => bail!("{other:?} is no option; {USAGE}"),
            }
        }
        let known = |n: &u32| super::bed::ITERATIONS.contains(n);
        if !options.iterations.iter().all(known) {
            bail!("--iterations can be {:?}", super::bed::ITERATIONS);
        }
        if options.callers.iter().any(|n| !(1..=super::bed::CALLERS_MAX).contains(n)) {
            bail!("--callers can be from 1 to {}", super::bed::CALLERS_MAX);
        }
        Ok(options)
    }

    pub fn does(&self, part: Part) -> bool {
        self.only.is_none_or(|only| only == part)
    }
}

impl FromStr for Part {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "mint" => Ok(Self::Mint),
            "revoke" => Ok(Self::Revoke),
            "memory" => Ok(Self::Memory),
            "isolation" => Ok(Self::Isolation),
            "store" => Ok(Self::Store),
            "scale" => Ok(Self::Scale),
            "several" => Ok(Self::Several),
            "lag" => Ok(Self::Lag),
            "tokens" => Ok(Self::Tokens),
            "clouds" => Ok(Self::Clouds),
            _ => bail!(USAGE),
        }
    }
}

fn list<T: FromStr>(text: &str) -> Result<Vec<T>>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    text.split(',').map(|item| item.parse().context(USAGE)).collect()
}
