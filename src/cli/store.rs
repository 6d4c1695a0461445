//! The store that the configuration names.

use std::sync::Arc;

use anyhow::Context;

use crate::config::{Config, StoreConfig};
use crate::seal::KeyRing;
use crate::store::postgres::{self, Link, Postgres};
use crate::store::sqlite::{self, Sqlite};
use crate::store::{AuditHead, Opener, SealedRow, Store};
use crate::telemetry::metrics::Metrics;

/// Opens it for a broker of this id.
pub(super) async fn open(config: &Config, broker: &str, metrics: &Arc<Metrics>) -> anyhow::Result<Arc<dyn Store>> {
    let opener = Opener { cluster: config.broker.cluster.clone(), broker: broker.to_owned() };
    let what = || format!("the store {} cannot be opened", name(config));
    Ok(match &config.store {
        StoreConfig::Sqlite(path) => {
            Arc::new(Sqlite::open(path, &opener, &config.limits, metrics.clone()).await.with_context(what)?)
        }
        StoreConfig::Postgres { url, password, ca } => {
            let link = Link::new(url, password.clone(), ca.as_deref()).with_context(what)?;
            Arc::new(Postgres::open(link, &opener, &config.limits).await.with_context(what)?)
        }
    })
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
        StoreConfig::Postgres { url, password, ca } => match Link::new(url, password.clone(), ca.as_deref()) {
            Ok(link) => postgres::audit_heads(&link, cluster).await,
            Err(e) => Err(e),
        },
    };
    heads.with_context(|| name(config))
}

/// What is sealed in it; beside whoever has it open.
pub(super) async fn sealed(config: &Config) -> anyhow::Result<Vec<SealedRow>> {
    let cluster = &config.broker.cluster;
    let rows = match &config.store {
        StoreConfig::Sqlite(path) => sqlite::sealed(path, cluster).await,
        StoreConfig::Postgres { url, password, ca } => match Link::new(url, password.clone(), ca.as_deref()) {
            Ok(link) => postgres::sealed(&link, cluster).await,
            Err(e) => Err(e),
        },
    };
    rows.with_context(|| name(config))
}

/// What an operator calls it.
pub(super) fn name(config: &Config) -> String {
    match &config.store {
        StoreConfig::Sqlite(path) => path.display().to_string(),
        StoreConfig::Postgres { url, .. } => url.clone(),
    }
}
