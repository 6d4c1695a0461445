//! What the agent keeps, as its parts share it.

use std::collections::BTreeMap;
use std::sync::Arc;

use leasehold_client::wire::{AgentStatus, SupplyStatus};
use leasehold_client::{Client, Credentials};
use leasehold_identity::Identity;

use super::acks::Acks;
use super::config::CredentialConfig;

/// One credential.
pub struct Supply {
    /// What the configuration says of it.
    pub config: Arc<CredentialConfig>,
    /// What keeps it alive.
    pub credentials: Arc<Credentials>,
    /// Who has changed to which generation.
    pub acks: Arc<Acks>,
}

/// All of them, by name.
pub struct Supplies {
    identity: Arc<Identity>,
    all: BTreeMap<String, Supply>,
}

impl Supplies {
    /// Begins to keep them.
    pub fn begin(client: &Client, identity: Arc<Identity>, configs: BTreeMap<String, CredentialConfig>) -> Self {
        let supply = |(name, config): (String, CredentialConfig)| {
            let credentials = Arc::new(Credentials::keep(client.clone(), config.wanted.clone()));
            let acks = Arc::new(Acks::new(&config.consumers));
            (name, Supply { config: Arc::new(config), credentials, acks })
        };
        Self { identity, all: configs.into_iter().map(supply).collect() }
    }

    /// The one of this name.
    pub fn of(&self, name: &str) -> Option<&Supply> {
        self.all.get(name)
    }

    /// All, with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Supply)> {
        self.all.iter().map(|(name, supply)| (name.as_str(), supply))
    }

    /// How they are.
    pub fn status(&self) -> AgentStatus {
        let credentials = self.all.iter().map(|(name, supply)| (name.clone(), supply.status())).collect();
        AgentStatus { spiffe_id: self.identity.spiffe_id().to_string(), credentials }
    }
}

impl Supply {
    fn status(&self) -> SupplyStatus {
        let (held, health) = (self.credentials.current(), self.credentials.health());
        let (delivered, undelivered) = self.acks.delivered();
        SupplyStatus {
            role: self.config.wanted.role.clone(),
            generation: held.as_ref().map_or(0, |held| held.generation),
            lease: held.as_ref().map(|held| held.lease.clone()),
            seconds_left: held.as_ref().map_or(0, |held| held.time_left().as_secs()),
            delivered,
            acknowledged: self.acks.by(),
            alarm: held.is_none() || health.alarm || health.ended,
            last_error: health.last_error.or(undelivered),
        }
    }
}
