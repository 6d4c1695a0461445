//! Starts the right subcommand, nothing else.

use std::process::ExitCode;

use clap::Parser;
use leasehold::cli::{Cli, exit};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::failed(&error.into()),
    };
    let done = runtime.block_on(cli.run());
    // A read from a terminal that nobody answers must not hold up the end.
    runtime.shutdown_background();
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => exit::failed(&error),
    }
}
