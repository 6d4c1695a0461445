//! `leasehold completions`.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, exit, output};

/// `leasehold completions SHELL`.
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// For this shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script.
pub fn run(args: &CompletionsArgs) -> anyhow::Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "leasehold", &mut script);
    output::print(&String::from_utf8(script)?)?;
    Ok(exit::DONE)
}
