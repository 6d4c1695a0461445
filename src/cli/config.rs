//! The configuration, for the commands that read it.

use std::path::PathBuf;
use std::sync::Arc;

use leasehold_sdk::EngineKind;

use crate::config::{Config, ConfigErrors, load};
use crate::token::Issuer;

/// Which file.
#[derive(Debug, Clone, clap::Args)]
pub struct ConfigArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "LEASEHOLD_CONFIG", default_value = "/etc/leasehold/leasehold.toml")]
    pub config: PathBuf,
}

/// The engines that this binary has; tokens are signed by this issuer.
pub fn engine_kinds(issuer: &Arc<Issuer>) -> Vec<Box<dyn EngineKind>> {
    vec![
        Box::new(leasehold_postgres::Postgres),
        Box::new(leasehold_token::Token::new(issuer.clone())),
        Box::new(leasehold_aws::Aws::new(issuer.clone())),
    ]
}

/// Reads it for an operator's command, which shows as `check` in the targets' session lists.
pub fn read(file: &std::path::Path) -> Result<Config, ConfigErrors> {
    // Nothing is signed here.
    load(file, &engine_kinds(&Arc::default()), "check")
}
