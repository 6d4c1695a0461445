//! `leasehold check`: everything that can be known before a caller is turned away for it.

mod audit;
mod public;
mod report;
mod seal;

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use leasehold_identity::{Identity, IdentityStatus};
use leasehold_sdk::{Level, Reason, RoleSettings, Timestamp};
use tokio::task::JoinSet;

use super::config::{ConfigArgs, read_for};
use super::exit;
use super::output::Output;
use super::store;
use crate::config::{Config, Target};
use crate::host::Core;
use crate::telemetry::process;
use report::{Found, Installs, Report};

/// How long one target is given: what a target does not answer by then is a finding.
const TARGET_TIME_MAX: Duration = Duration::from_secs(60);

/// How long the broker's own sources that are no files are given for a first word.
const SOURCES_TIME_MAX: Duration = Duration::from_secs(10);

/// `leasehold check`. Ends with 1 when anything is wrong.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Look at this target only.
    #[arg(long)]
    target: Option<String>,
    /// Print what must be run in the targets before the broker can work there, and touch none of them.
    #[arg(long)]
    install_sql: bool,
}

/// Checks and prints.
pub async fn run(args: CheckArgs, output: Output) -> anyhow::Result<u8> {
    process::deny_driver_environment()?;
    let core = Arc::default();
    let config = read_for(&args.config.config, &core)?;
    let targets = chosen(&config, args.target.as_deref())?;
    if args.install_sql {
        Installs::of(targets.iter().map(|target| (target.name.as_str(), install_sql(&config, target))))
            .print(output)?;
        return Ok(exit::DONE);
    }
    let mut report = Report::new(&config.file);
    report.add(told(&config));
    report.add(public::look(&config));
    report.add(identity(&config, &core).await);
    report.add(leases(&config).await);
    report.add(seal::look(&config).await);
    report.add(audit::look(&config).await);
    for found in everywhere(&config, targets).await {
        report.add(found);
    }
    report.print(output)?;
    Ok(if report.is_bad() { exit::FAILED } else { exit::DONE })
}

fn chosen(config: &Config, name: Option<&str>) -> anyhow::Result<Vec<Target>> {
    match name {
        None => Ok(config.targets.values().cloned().collect()),
        Some(name) => match config.targets.get(name) {
            Some(target) => Ok(vec![target.clone()]),
            None => bail!("{} has no target {name:?}", config.file.display()),
        },
    }
}

fn install_sql(config: &Config, target: &Target) -> Option<String> {
    target.engine.install_sql(&roles(config, target))
}

fn roles(config: &Config, target: &Target) -> Vec<(String, RoleSettings)> {
    let in_it = config.rules.roles.values().filter(|role| role.target == target.name);
    in_it.map(|role| (role.name.clone(), role.settings.clone())).collect()
}

/// The file is good, or we would not be here.
fn told(config: &Config) -> Vec<Found> {
    let (targets, roles, grants) = (config.targets.len(), config.rules.roles.len(), config.rules.grants.len());
    vec![Found::new(Level::Good, "config", format!("targets: {targets}, roles: {roles}, grants: {grants}"))]
}

async fn leases(config: &Config) -> Vec<Found> {
    match store::examine(config).await {
        Ok(findings) => findings.into_iter().map(|finding| Found::of("store", finding)).collect(),
        Err(e) => vec![Found::new(Level::Error, "store", format!("{e:#}"))],
    }
}

/// Targets that know the broker by its SVID are looked at with what is found here.
async fn identity(config: &Config, core: &Core) -> Vec<Found> {
    match Identity::load(config.identity.clone()) {
        Ok(identity) => {
            let watch = identity.spawn_watch();
            identity.first_words(SOURCES_TIME_MAX).await;
            watch.abort();
            let found = identity_status(&identity.status());
            core.attach(identity);
            found
        }
        Err(error) => vec![Found::new(Level::Error, "identity", error.to_string())],
    }
}

fn identity_status(status: &IdentityStatus) -> Vec<Found> {
    let found = |level, what: String| Found::new(level, "identity", what);
    let until = Timestamp::from_unix_ms(status.svid_not_after_unix_ms);
    let mut all = vec![match &status.svid_problem {
        None => found(Level::Good, format!("the broker is {}, valid until {until}", status.spiffe_id)),
        Some(problem) => found(Level::Error, format!("the broker's own SVID ({}): {problem}", status.spiffe_id)),
    }];
    all.extend(status.warnings.iter().map(|warning| found(Level::Warning, warning.clone())));
    for domain in &status.domains {
        let name = &domain.trust_domain;
        if domain.authorities == 0 {
            all.push(found(Level::Error, format!("the bundle of {name} holds no authority: nobody of it is let in")));
        }
        if domain.has_uri_name_constraints {
            let what = format!("an authority of {name} has name constraints on URIs: whatever it signs is refused");
            all.push(found(Level::Warning, what));
        }
        all.extend(domain.last_error.iter().map(|why| found(Level::Warning, why.clone())));
        all.extend(domain.ignored.iter().map(|why| found(Level::Warning, format!("the bundle of {name}: {why}"))));
    }
    all
}

/// All targets at once, each with its own time; told in their order.
async fn everywhere(config: &Config, targets: Vec<Target>) -> Vec<Vec<Found>> {
    let mut looks = JoinSet::new();
    for (at, target) in targets.into_iter().enumerate() {
        let roles = roles(config, &target);
        looks.spawn(async move { (at, look(target, roles).await) });
    }
    let mut all = looks.join_all().await;
    all.sort_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, found)| found).collect()
}

async fn look(target: Target, roles: Vec<(String, RoleSettings)>) -> Vec<Found> {
    let engine = Arc::clone(&target.engine);
    match tokio::time::timeout(TARGET_TIME_MAX, engine.check(&roles)).await {
        Ok(findings) => findings.into_iter().map(|finding| Found::of(&target.name, finding)).collect(),
        Err(_) => {
            let what = Reason::new(format!("it did not answer within {} s", TARGET_TIME_MAX.as_secs()));
            vec![Found::new(Level::Error, &target.name, what.to_string())]
        }
    }
}
