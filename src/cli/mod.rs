//! The command line: one file per command. All but `serve`, `check`, `store`, `dev`, `audit` and `identity` talk to a broker, through
//! the client.

mod agent;
mod audit;
mod block;
mod broker;
mod check;
mod completions;
mod config;
mod connect;
mod dev;
pub mod exit;
mod explain;
mod format;
mod get;
mod identity;
mod lease;
mod output;
mod question;
mod reconcile;
mod role;
mod run;
mod seal;
mod serve;
mod store;
mod target;
mod token;
mod value;

use clap::{Parser, Subcommand};

use output::Output;

/// Dynamic credential broker: a workload's SPIFFE identity for a credential of its own, which dies on time.
#[derive(Debug, Parser)]
#[command(name = "leasehold", version, propagate_version = true, infer_long_args = false)]
pub struct Cli {
    /// What to print: a table for people, or the API's own JSON.
    #[arg(long, global = true, value_enum, default_value_t)]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Look for what is wrong: the configuration, the targets' reach, the rights in them.
    Check(check::CheckArgs),
    /// Run the broker.
    Serve(serve::ServeArgs),
    /// Run a whole broker with throwaway CA, store and database, to try things on.
    Dev(dev::DevArgs),
    /// Fetch one credential.
    Get(get::GetArgs),
    /// Start a program with credentials in its environment; they are renewed while it runs and revoked when it ends.
    Run(run::RunArgs),
    /// Keep a running service supplied with credentials.
    Agent(agent::AgentArgs),
    /// See, renew and end leases.
    #[command(subcommand)]
    Lease(lease::LeaseCommand),
    /// See what can be asked for.
    #[command(subcommand)]
    Role(role::RoleCommand),
    /// Ask whether something would be allowed, by which grant, and if not why.
    Explain(explain::ExplainArgs),
    /// Compare leases with what exists in the targets, now.
    Reconcile(reconcile::ReconcileArgs),
    /// See who works on the store.
    #[command(subcommand)]
    Broker(broker::BrokerCommand),
    /// Manage targets.
    #[command(subcommand)]
    Target(target::TargetCommand),
    /// Move the store to another place.
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Change the key by which what must be kept is sealed.
    #[command(subcommand)]
    Seal(seal::SealCommand),
    /// See and change the keys that sign tokens.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Verify and follow the audit log.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Block identities; make development certificates, and look into certificates.
    #[command(subcommand)]
    Identity(identity::IdentityCommand),
    /// Print a completion script for a shell.
    Completions(completions::CompletionsArgs),
}

impl Cli {
    /// Does what the command line says.
    ///
    /// # Errors
    /// Why it could not be done. [`exit::failed`] says it and knows the exit code.
    pub async fn run(self) -> anyhow::Result<u8> {
        let output = self.output;
        match self.command {
            Command::Check(args) => check::run(args, output).await,
            Command::Serve(args) => serve::run(args).await.map(|()| 0),
            Command::Dev(args) => dev::run(args).await.map(|()| 0),
            Command::Get(args) => get::run(args, output).await,
            Command::Run(args) => run::run(args).await,
            Command::Agent(args) => agent::run(args, output).await,
            Command::Lease(command) => lease::run(command, output).await,
            Command::Role(command) => role::run(command, output).await,
            Command::Explain(args) => explain::run(args, output).await,
            Command::Reconcile(args) => reconcile::run(args, output).await,
            Command::Broker(command) => broker::run(command, output).await,
            Command::Target(command) => target::run(command, output).await,
            Command::Store(command) => store::run(command, output).await,
            Command::Seal(command) => seal::run(command, output).await,
            Command::Token(command) => token::run(command, output).await,
            Command::Audit(command) => audit::run(command, output).await,
            Command::Identity(command) => identity::run(command, output).await,
            Command::Completions(args) => completions::run(&args),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn output_can_stand_before_and_after_the_command() {
        for line in
            [["leasehold", "--output", "json", "role", "list"], ["leasehold", "role", "list", "--output", "json"]]
        {
            assert_eq!(Cli::try_parse_from(line).unwrap().output, Output::Json);
        }
    }
}
