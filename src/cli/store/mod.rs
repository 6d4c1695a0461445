//! The store that the configuration names.

mod moving;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use leasehold_sdk::Finding;

pub use moving::{StoreCommand, run};

use crate::config::{Config, PostgresStore, StoreConfig};
use crate::seal::KeyRing;
use crate::store::postgres::{self, Link, Postgres};
use crate::store::sqlite::{self, Sqlite};
use crate::store::{AuditHead, Opener, SealedRow, Store, StoreError};
use crate::telemetry::metrics::Metrics;

/// Between two tries to open a store that is not there.
const STORE_LOOK: Duration = Duration::from_secs(2);

/// Opens it for a broker of this id.
pub(super) async fn open(config: &Config, broker: &str, metrics: &Arc<Metrics>) -> anyhow::Result<Arc<dyn Store>> {
    let opener = Opener { cluster: config.broker.cluster.clone(), broker: broker.to_owned() };
    let what = || format!("the store {} cannot be opened", name(config));
    Ok(match &config.store {
        StoreConfig::Sqlite(path) => {
            Arc::new(Sqlite::open(path, &opener, &config.limits, metrics.clone()).await.with_context(what)?)
        }
        StoreConfig::Postgres(store) => {
            Arc::new(open_when_there(config, store, &opener, metrics).await.with_context(what)?)
        }
    })
}

fn link(config: &Config, store: &PostgresStore) -> Link {
    let patience = Duration::from_millis(config.limits.store_call_milliseconds_max);
    Link::new(&store.address, &store.tls, store.password.clone(), patience)
}

/// A server that is away, fails over or is starting comes back: a broker that starts meanwhile waits for it.
async fn open_when_there(
    config: &Config,
    store: &PostgresStore,
    opener: &Opener,
    metrics: &Arc<Metrics>,
) -> Result<Postgres, StoreError> {
    loop {
        match Postgres::open(link(config, store), opener, &config.limits, metrics.clone()).await {
            Err(StoreError::Unavailable(why)) => {
                tracing::error!(%store, why, "the store is not there: this broker starts as soon as it is");
                tokio::time::sleep(STORE_LOOK).await;
            }
            result => return result,
        }
    }
}

/// The keys by which what it holds is sealed. Beside a store for one broker a key file is made when there is none.
pub(super) fn keys(config: &Config) -> anyhow::Result<Option<KeyRing>> {
    let Some(seal) = &config.seal else { return Ok(None) };
    if matches!(config.store, StoreConfig::Sqlite(_)) {
        seal.key.make_if_missing()?;
    }
    Ok(Some(KeyRing::read(&seal.key, &seal.old_keys)?))
}

/// The audit chains that it knows of and where they end; beside whoever has it open.
pub(super) async fn audit_heads(config: &Config) -> anyhow::Result<Vec<(String, AuditHead)>> {
    let cluster = &config.broker.cluster;
    let heads = match &config.store {
        StoreConfig::Sqlite(path) => sqlite::audit_heads(path, cluster).await,
        StoreConfig::Postgres(store) => postgres::audit_heads(&link(config, store), cluster).await,
    };
    heads.with_context(|| name(config))
}

/// What is sealed in it; beside whoever has it open.
pub(super) async fn sealed(config: &Config) -> anyhow::Result<Vec<SealedRow>> {
    let cluster = &config.broker.cluster;
    let rows = match &config.store {
        StoreConfig::Sqlite(path) => sqlite::sealed(path, cluster).await,
        StoreConfig::Postgres(store) => postgres::sealed(&link(config, store), cluster).await,
    };
    rows.with_context(|| name(config))
}

/// What keeps a broker from working with it; beside whoever has it open.
pub(super) async fn examine(config: &Config) -> anyhow::Result<Vec<Finding>> {
    let cluster = &config.broker.cluster;
    let found = match &config.store {
        StoreConfig::Sqlite(path) => sqlite::examine(path, cluster).await,
        StoreConfig::Postgres(store) => postgres::examine(&link(config, store), cluster).await,
    };
    found.with_context(|| name(config))
}

/// What an operator calls it.
pub(super) fn name(config: &Config) -> String {
    match &config.store {
        StoreConfig::Sqlite(path) => path.display().to_string(),
        StoreConfig::Postgres(store) => store.to_string(),
    }
}
