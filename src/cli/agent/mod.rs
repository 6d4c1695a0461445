//! `leasehold agent`.

mod status;

use std::path::PathBuf;

use super::exit;
use super::output::Output;
use crate::agent;
use crate::telemetry::{logs, process};

/// `leasehold agent`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct AgentArgs {
    /// The agent's configuration
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    /// How logs are written to standard error
    #[arg(long, default_value = "json")]
    log_format: logs::Format,
    #[command(subcommand)]
    command: Option<AgentCommand>,
}

#[derive(Debug, clap::Subcommand)]
enum AgentCommand {
    /// How it is with all that an agent on this host keeps.
    Status(status::StatusArgs),
}

/// Runs the agent until SIGTERM or SIGINT, or asks one.
pub async fn run(args: AgentArgs, output: Output) -> anyhow::Result<u8> {
    match (args.command, args.config) {
        (Some(AgentCommand::Status(args)), _) => status::run(args, output).await,
        (None, Some(file)) => {
            process::deny_dumps()?;
            logs::start(args.log_format)?;
            agent::run(agent::config::load(&file)?).await
        }
        (None, None) => Err(exit::Usage("--config FILE is needed".to_owned()).into()),
    }
}
