//! The token engine: signed tokens (RFC 9068) that are good for one audience, for minutes.
//!
//! A target of this kind is an audience, and nothing is made anywhere but a signature: there is nothing to reach and nothing to
//! clean up. The key is the core's ([`Host::sign_jwt`]); this crate decides what the token says. README.md has the settings.

mod claims;
mod engine;
mod plan;
mod role;
mod target;

use std::sync::Arc;

use leasehold_sdk::{Engine, EngineKind, Host, SettingError, Settings, TargetContext};

use engine::TokenEngine;
use target::TargetConfig;

/// What the plugin is called.
const NAME: &str = "token";

/// The kind of target called `token`.
pub struct Token {
    host: Arc<dyn Host>,
}

impl Token {
    /// One whose tokens are signed by this host.
    pub fn new(host: Arc<dyn Host>) -> Self {
        Self { host }
    }
}

impl EngineKind for Token {
    fn name(&self) -> &'static str {
        NAME
    }

    fn credential_kind(&self) -> &'static str {
        "token"
    }

    fn target(&self, context: TargetContext, settings: Settings) -> Result<Arc<dyn Engine>, SettingError> {
        Ok(Arc::new(TokenEngine::new(TargetConfig::read(settings)?, context.cluster, self.host.clone())))
    }
}
