//! The configuration, for the commands that read it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use leasehold_sdk::EngineKind;

use crate::config::{Config, ConfigErrors, load};
use crate::host::Core;

/// Which file.
#[derive(Debug, Clone, clap::Args)]
pub struct ConfigArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "LEASEHOLD_CONFIG", default_value = "/etc/leasehold/leasehold.toml")]
    pub config: PathBuf,
}

/// The engines that this binary has; what they need signed is signed by this core.
pub fn engine_kinds(core: &Arc<Core>) -> Vec<Box<dyn EngineKind>> {
    vec![
        Box::new(leasehold_postgres::Postgres),
        Box::new(leasehold_token::Token::new(core.clone())),
        Box::new(leasehold_aws::Aws::new(core.clone())),
    ]
}

/// Reads it for an operator's command, which shows as `check` in the targets' session lists.
pub fn read(file: &Path) -> Result<Config, ConfigErrors> {
    read_for(file, &Arc::default())
}

/// The same with the engines of this core, which knows then whose name it would sign in. It has no keys: nothing is signed.
pub fn read_for(file: &Path, core: &Arc<Core>) -> Result<Config, ConfigErrors> {
    let config = load(file, &engine_kinds(core), "check")?;
    core.issuer().follow(config.token.as_ref());
    Ok(config)
}
