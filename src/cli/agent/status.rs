//! `leasehold agent status`.

use std::path::PathBuf;

use leasehold_client::Agent;
use leasehold_client::wire::SupplyStatus;

use crate::cli::exit;
use crate::cli::output::Output;

/// `leasehold agent status`.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// The agent's socket, as its configuration names it
    #[arg(long, value_name = "SOCKET", env = "LEASEHOLD_AGENT_SOCKET", default_value = "/run/leasehold/agent.sock")]
    socket: PathBuf,
}

/// Prints it. Exits 1 if something is wrong with one of them.
pub async fn run(args: StatusArgs, output: Output) -> anyhow::Result<u8> {
    let agent = Agent::at(args.socket);
    let status = agent.status().await;
    agent.close().await;
    let status = status?;
    let header = ["NAME", "ROLE", "GENERATION", "DELIVERED", "LEASE", "LEFT", "LAST ERROR"];
    output.list(&status, header, status.credentials.iter().map(|(name, one)| row(name, one)))?;
    Ok(if status.credentials.values().any(|one| one.alarm) { exit::FAILED } else { exit::DONE })
}

fn row(name: &str, one: &SupplyStatus) -> [String; 7] {
    let left = humantime::format_duration(std::time::Duration::from_secs(one.seconds_left)).to_string();
    [
        name.to_owned(),
        one.role.clone(),
        one.generation.to_string(),
        one.delivered.to_string(),
        one.lease.as_ref().map(|lease| lease.id.clone()).unwrap_or_default(),
        left,
        one.last_error.clone().unwrap_or_default(),
    ]
}
