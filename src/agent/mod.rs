//! The agent: keeps the credentials of a running service alive and hands them on in the ways that it already knows.

mod acks;
pub mod config;
mod deliver;
pub mod forms;
mod serve;
mod supply;

use std::sync::Arc;

use leasehold_client::{Client, Ending};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use config::AgentConfig;
use deliver::Delivery;
use serve::Server;
use supply::Supplies;

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// What kept it from starting. A broker that is away does not.
pub async fn run(config: AgentConfig) -> anyhow::Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let AgentConfig { broker, socket, credentials } = config;
    let broker = broker.load().await?;
    let identity = broker.identity.clone();
    let follow = identity.spawn_watch();
    let client = Client::new(broker)?;
    let supplies = Arc::new(Supplies::begin(&client, identity, credentials));

    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    for (name, supply) in supplies.iter() {
        let (config, acks) = (supply.config.clone(), supply.acks.clone());
        tasks.spawn(Delivery::new(name, config, supply.credentials.clone(), acks)?.run());
    }
    let server = match &socket {
        Some(socket) => Some(tokio::spawn(Server::bind(socket, supplies.clone()).await?.run(stopped))),
        None => None,
    };
    tracing::info!(credentials = supplies.iter().count(), "the agent is up");
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    tracing::info!("the agent stops");
    stop.send_replace(true);
    if let Some(server) = server {
        // A panic of it is no reason not to end what is to end.
        let _ = server.await;
    }
    tasks.shutdown().await;
    for (_, supply) in supplies.iter() {
        let ending = if supply.config.revoke_on_exit { Ending::Revoke } else { Ending::Leave };
        supply.credentials.end(ending).await;
    }
    client.close().await;
    follow.abort();
    Ok(())
}
