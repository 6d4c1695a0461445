//! What the agent keeps, as its parts share it.

use std::collections::BTreeMap;
use std::sync::Arc;

use leasehold_client::wire::{AgentStatus, SupplyStatus};
use leasehold_client::{Client, Credentials};
use leasehold_identity::Identity;
use leasehold_sdk::Timestamp;

use super::acks::Acks;
use super::config::CredentialConfig;
use super::forms;
use super::forms::template::Known;
use super::state::State;

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
    /// Begins to keep them; what the state holds and is still good is not fetched again.
    pub fn begin(
        client: &Client,
        identity: Arc<Identity>,
        configs: BTreeMap<String, CredentialConfig>,
        state: Option<&State>,
    ) -> Self {
        let supply = |(name, config): (String, CredentialConfig)| {
            let (client, wanted) = (client.clone(), config.wanted.clone());
            let credentials = match state.and_then(|state| state.take(&name, &wanted)) {
                Some(held) => {
                    tracing::info!(credential = %name, lease = held.lease_id(), generation = held.generation, "what an earlier agent fetched is still good");
                    Credentials::resume(client, wanted, held)
                }
                None => Credentials::keep(client, wanted),
            };
            let credentials = Arc::new(credentials);
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

    /// What templates know of all that are there.
    ///
    /// # Errors
    /// When one is of a kind that has no form.
    pub fn known(&self) -> anyhow::Result<Known> {
        let mut known = Known::default();
        for (name, supply) in self.iter() {
            if let Some(held) = supply.credentials.current() {
                known = known.and(name, held.generation, held.lease.as_ref(), &forms::open(&held.credential)?);
            }
        }
        Ok(known)
    }

    /// Whether each was delivered at least once.
    pub fn are_delivered(&self) -> bool {
        self.all.values().all(|supply| supply.acks.delivered().0 > 0)
    }

    /// When the SVID ends by which the agent works.
    pub fn svid_not_after(&self) -> Timestamp {
        Timestamp::from_unix_ms(self.identity.status().svid_not_after_unix_ms)
    }

    /// How they are.
    pub fn status(&self) -> AgentStatus {
        let credentials = self.all.iter().map(|(name, supply)| (name.clone(), supply.status())).collect();
        AgentStatus { spiffe_id: self.identity.spiffe_id().to_string(), credentials }
    }
}

impl Supply {
    /// How it is.
    pub fn status(&self) -> SupplyStatus {
        let (held, health) = (self.credentials.current(), self.credentials.health());
        let (delivered, undelivered) = self.acks.delivered();
        SupplyStatus {
            role: self.config.wanted.role.clone(),
            generation: held.as_ref().map_or(0, |held| held.generation),
            lease: held.as_ref().and_then(|held| held.lease.clone()),
            seconds_left: held.as_ref().map_or(0, |held| held.time_left().as_secs()),
            delivered,
            acknowledged: self.acks.by(),
            alarm: held.is_none() || health.alarm || health.ended,
            last_error: health.last_error.or(undelivered),
        }
    }
}
