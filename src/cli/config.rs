//! The configuration, for the commands that read it.

use std::path::PathBuf;

use leasehold_sdk::EngineKind;

use crate::config::{Config, ConfigErrors, load};

/// Which file.
#[derive(Debug, Clone, clap::Args)]
pub struct ConfigArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "LEASEHOLD_CONFIG", default_value = "/etc/leasehold/leasehold.toml")]
    pub config: PathBuf,
}

/// The engines that this binary has.
pub fn engine_kinds() -> Vec<&'static dyn EngineKind> {
    vec![&leasehold_postgres::Postgres]
}

/// Reads it for an operator's command, which shows as `check` in the targets' session lists.
pub fn read(file: &std::path::Path) -> Result<Config, ConfigErrors> {
    load(file, &engine_kinds(), "check")
}
