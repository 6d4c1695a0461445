//! The AWS engine: sessions of IAM roles, and IAM users for what sessions cannot do.
//!
//! A target is one account, as the broker's own login sees it. The broker holds no static key: its own session is bought with an
//! assertion of its issuer or with its SVID ([`own`]). What AWS cannot revoke is never called revoked (law 5). README.md has the
//! settings, the rights that the broker needs, and what could not be tried without an account.

mod answer;
mod anywhere;
mod arn;
mod check;
mod clients;
mod deny;
mod ending;
mod engine;
mod own;
mod plan;
mod policy;
mod role;
mod session;
mod target;
mod trust;
mod user;

use std::sync::Arc;

use leasehold_sdk::{Engine, EngineKind, Host, SettingError, Settings, TargetContext};

use engine::AwsEngine;
use target::TargetConfig;

/// What the plugin is called.
const NAME: &str = "aws";

/// The kind of target called `aws`.
pub struct Aws {
    host: Arc<dyn Host>,
}

impl Aws {
    /// One whose own sessions are bought with what this host signs.
    pub fn new(host: Arc<dyn Host>) -> Self {
        Self { host }
    }
}

impl EngineKind for Aws {
    fn name(&self) -> &'static str {
        NAME
    }

    fn credential_kind(&self) -> &'static str {
        "aws"
    }

    fn target(&self, context: TargetContext, settings: Settings) -> Result<Arc<dyn Engine>, SettingError> {
        let config = TargetConfig::read(settings)?;
        Ok(Arc::new(AwsEngine::new(context, config, self.host.clone())))
    }
}
