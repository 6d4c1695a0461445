//! The service as our child: started once all its credentials are there, told of changes, and its exit code is ours.

use std::sync::Arc;

use rustix::process::Signal;
use tokio::process::Child;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use zeroize::Zeroizing;

use super::child::{self, Signals};
use super::config::{ExecConfig, OnChange, Withheld};
use super::forms::template;
use super::forms::variables::Variable;
use super::supply::Supplies;

/// Runs it until it ends, or until we are told to end before it was started. `given`: what it gets into its environment unless its
/// own says otherwise. `news`: rung for every generation that was delivered.
///
/// # Errors
/// When a template of its environment cannot be filled in.
pub async fn run(
    config: &ExecConfig,
    given: Vec<Variable>,
    withheld: &Withheld,
    supplies: &Arc<Supplies>,
    mut news: watch::Receiver<u64>,
    mut signals: Signals,
) -> anyhow::Result<u8> {
    while !supplies.are_delivered() {
        tokio::select! {
            _ = news.changed() => {}
            number = signals.next() => {
                if let Some(code) = child::code_before_start(number) {
                    return Ok(code);
                }
            }
        }
    }
    'start: loop {
        news.borrow_and_update();
        let environment = given.iter().cloned().chain(environment(config, supplies)?).collect();
        let mut child = match child::start(&config.command, environment, withheld)? {
            Ok(child) => child,
            Err(code) => return Ok(code),
        };
        // When it is killed, once it was told to end.
        let mut killed_at = None;
        loop {
            tokio::select! {
                code = child::ended(&mut child) => return code,
                number = signals.next() => {
                    child::hand_on(&child, number);
                    if Signals::means_stop(number) {
                        killed_at.get_or_insert(Instant::now() + config.stop_timeout);
                    }
                }
                () = sleep_until(killed_at.unwrap_or_else(Instant::now)), if killed_at.is_some() => {
                    tracing::warn!(after = ?config.stop_timeout, "the service did not end, and is killed");
                    child::pass_on(&child, Signal::KILL);
                    killed_at = None;
                }
                _ = news.changed() => match config.on_change {
                    OnChange::Nothing => {}
                    OnChange::Signal(number) => child::pass_on(&child, number),
                    OnChange::Restart => {
                        stop(config, &mut child).await?;
                        continue 'start;
                    }
                },
            }
        }
    }
}

async fn stop(config: &ExecConfig, child: &mut Child) -> anyhow::Result<()> {
    tracing::info!("the service is started again with its new credentials");
    child::pass_on(child, Signal::TERM);
    if timeout(config.stop_timeout, child::ended(child)).await.is_err() {
        tracing::warn!(after = ?config.stop_timeout, "the service did not end, and is killed");
        child::pass_on(child, Signal::KILL);
        child::ended(child).await?;
    }
    Ok(())
}

fn environment(config: &ExecConfig, supplies: &Supplies) -> anyhow::Result<Vec<Variable>> {
    let known = supplies.known()?;
    let filled = |(name, text): (&String, &String)| {
        let value: Zeroizing<String> = template::fill(&format!("exec.env.{name}"), text, &known)?;
        Ok((name.clone(), value))
    };
    config.env.iter().map(filled).collect()
}
